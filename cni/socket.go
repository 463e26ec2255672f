package main

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"
)

const maxAnswer = 1 << 20

// The syscall package is frozen without setns; the numbers are the kernel's.
var setnsNumber = map[string]uintptr{
	"386": 346, "amd64": 308, "arm": 375, "arm64": 268, "ppc64le": 350, "riscv64": 268, "s390x": 339,
}[runtime.GOARCH]

var errClosed = errors.New("the connection closed before an answer")

// trustNoNeighbour makes interfaces that the current namespace gets later deaf to routers' advertisements, which
// any pod of the node could send to the others to become their way out. Without IPv6 there is nothing to do.
func trustNoNeighbour() {
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_ra", []byte("0"), 0)
}

// netlinkIn opens a NETLINK_ROUTE socket in another network namespace.
func netlinkIn(namespace int) (int, error) {
	socket := -1
	err := inside(namespace, func() (err error) {
		trustNoNeighbour()
		socket, err = syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
		return err
	})
	return socket, err
}

// switchIPv6On lets interfaces that a namespace gets from now on have IPv6, and returns what undoes that. It
// changes none that is there: an engine that switched IPv6 off keeps it off for all but the pod's new interface.
func switchIPv6On(namespace int) (func(), error) {
	const file = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
	var before []byte
	err := inside(namespace, func() (err error) {
		if before, err = os.ReadFile(file); err != nil {
			return err
		}
		return os.WriteFile(file, []byte("0"), 0)
	})
	restore := func() { _ = inside(namespace, func() error { return os.WriteFile(file, before, 0) }) }
	return restore, err
}

// inside runs something in another network namespace. The thread that enters it stays locked and dies with its
// goroutine, so nothing else ever runs there.
func inside(namespace int, act func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(setnsNumber, uintptr(namespace), syscall.CLONE_NEWNET, 0); errno != 0 {
			done <- errno
			return
		}
		done <- act()
	}()
	return <-done
}

// exchange sends one line with descriptors and returns the line that comes back, each step within the time-out.
func exchange(path string, payload []byte, descriptors []int, timeout time.Duration) ([]byte, error) {
	socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(socket)
	limit := syscall.NsecToTimeval(timeout.Nanoseconds())
	for _, option := range []int{syscall.SO_SNDTIMEO, syscall.SO_RCVTIMEO} {
		if err := syscall.SetsockoptTimeval(socket, syscall.SOL_SOCKET, option, &limit); err != nil {
			return nil, err
		}
	}
	if err := retry(func() error { return syscall.Connect(socket, &syscall.SockaddrUnix{Name: path}) }); err != nil {
		return nil, err
	}
	if err := send(socket, payload, descriptors); err != nil {
		return nil, err
	}
	return receive(socket)
}

// send writes everything; the descriptors go with the first bytes.
func send(socket int, payload []byte, descriptors []int) error {
	var rights []byte
	if len(descriptors) > 0 {
		rights = syscall.UnixRights(descriptors...)
	}
	for len(payload) > 0 {
		sent := 0
		err := retry(func() (err error) {
			sent, err = syscall.SendmsgN(socket, payload, rights, nil, syscall.MSG_NOSIGNAL)
			return err
		})
		if err != nil {
			return timedOut(err)
		}
		payload, rights = payload[sent:], nil
	}
	return nil
}

// receive reads up to the newline that ends the answer.
func receive(socket int) ([]byte, error) {
	var line []byte
	buffer := make([]byte, 32<<10)
	for {
		got := 0
		err := retry(func() (err error) {
			got, err = syscall.Read(socket, buffer)
			return err
		})
		if err != nil {
			return nil, timedOut(err)
		}
		if got == 0 {
			return nil, errClosed
		}
		line = append(line, buffer[:got]...)
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			return line[:end], nil
		}
		if len(line) > maxAnswer {
			return nil, errors.New("the answer is too long")
		}
	}
}

func timedOut(err error) error {
	if errors.Is(err, syscall.EAGAIN) {
		return errors.New("time-out")
	}
	return err
}

func retry(act func() error) error {
	for {
		if err := act(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
