"""Other kernels than this machine's: Debian's, in virtual machines, and the kernel tests in them.

`plan` says which kernels and which tests, `packages` fetches a kernel, `files` and `cpio` make the file
system that it boots, `machine` boots it, `results` counts, `runs` puts it together. Without KVM: qemu
translates, so everything is five to eighteen times slower inside.
"""
