// What pods of both suites run: the commands of Kubernetes' agnhost that they use, in an image without anything
// else. As `bash` it runs the command of `-c`, which has no more than words.
package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/test/images/agnhost/connect"
	"k8s.io/kubernetes/test/images/agnhost/netexec"
	"k8s.io/kubernetes/test/images/agnhost/pause"
	"k8s.io/kubernetes/test/images/agnhost/porter"
	servehostname "k8s.io/kubernetes/test/images/agnhost/serve-hostname"
)

func main() {
	if filepath.Base(os.Args[0]) == "bash" {
		os.Args = strings.Fields(os.Args[2])
	}
	if len(os.Args) == 1 {
		os.Args = append(os.Args, "pause")
	}
	if !sctp() {
		withoutSCTP()
	}
	agnhost := &cobra.Command{Use: "agnhost"}
	agnhost.AddCommand(connect.CmdConnect, netexec.CmdNetexec, pause.CmdPause, porter.CmdPorter)
	agnhost.AddCommand(servehostname.CmdServeHostname)
	os.Exit(cli.Run(agnhost))
}

func sctp() bool {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, syscall.IPPROTO_SCTP)
	if err == nil {
		syscall.Close(socket)
	}
	return err == nil
}

// withoutSCTP lets `porter` serve nothing where it would end: a pod of a test of TCP is not ready without it.
func withoutSCTP() {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "SERVE_SCTP_PORT_") {
			os.Unsetenv(name)
		}
	}
}
