// Command quilt-cni is the CNI plugin binary on the host. It decides nothing: it hands the call to the node's
// quilt-runtime over a Unix socket, together with the pod's network namespace and a netlink socket opened inside it,
// and prints the answer. So the runtime needs no privilege beyond NET_ADMIN, and no access to the host's processes.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	defaultSocket  = "/run/quilt/cni.sock"
	defaultTimeout = 40 * time.Second
	maxConfig      = 4 << 20

	needsIPv6 = "ipv6"

	codeEnvironment = 4
	codeIO          = 5
	codeDecoding    = 6
	codeTryAgain    = 11
	codeUnavailable = 50
)

var versions = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// config is what the shim itself reads of the network configuration.
type config struct {
	CNIVersion string `json:"cniVersion"`
	Socket     string `json:"socket"`
	Timeout    int    `json:"timeoutSeconds"`
}

// request is one line to the runtime; descriptors travel beside it.
type request struct {
	Verb   string            `json:"verb"`
	Env    map[string]string `json:"env"`
	Config string            `json:"config"`
}

// answer is one line from the runtime: a result to print, nothing, or a CNI error, which may say what it needs in
// the pod's namespace to do better.
type answer struct {
	Needs  string          `json:"needs"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// cniError is the error document of the CNI specification.
type cniError struct {
	CNIVersion string `json:"cniVersion"`
	Code       int    `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

func (e *cniError) Error() string { return e.Msg }

func fail(code int, format string, arguments ...any) *cniError {
	return &cniError{Code: code, Msg: "quilt-cni: " + fmt.Sprintf(format, arguments...)}
}

func main() {
	os.Exit(run(os.Stdin, os.Stdout, os.Environ()))
}

// run does one call and returns the exit code.
func run(stdin io.Reader, stdout io.Writer, environ []string) int {
	env := cniEnvironment(environ)
	if env["CNI_COMMAND"] == "VERSION" {
		return print(stdout, map[string]any{"cniVersion": versions[len(versions)-1], "supportedVersions": versions})
	}
	raw, err := io.ReadAll(io.LimitReader(stdin, maxConfig))
	if err != nil {
		return refuse(stdout, "", fail(codeIO, "cannot read the network configuration: %v", err))
	}
	conf := config{Socket: defaultSocket}
	if err := json.Unmarshal(raw, &conf); err != nil {
		return refuse(stdout, "", fail(codeDecoding, "the network configuration is not valid: %v", err))
	}
	reply, err := call(env, string(raw), conf)
	if err != nil {
		return refuse(stdout, conf.CNIVersion, err)
	}
	if len(reply.Error) > 0 && string(reply.Error) != "null" {
		stdout.Write(append(reply.Error, '\n'))
		return 1
	}
	if len(reply.Result) > 0 && string(reply.Result) != "null" {
		stdout.Write(append(reply.Result, '\n'))
	}
	return 0
}

// call asks the runtime; a runtime that is not there is an error for everything but DEL.
func call(env map[string]string, raw string, conf config) (answer, error) {
	verb := env["CNI_COMMAND"]
	descriptors, err := descriptorsFor(verb, env["CNI_NETNS"])
	if err != nil {
		return answer{}, err
	}
	defer closeAll(descriptors)
	payload, err := json.Marshal(request{Verb: verb, Env: env, Config: raw})
	if err != nil {
		return answer{}, fail(codeDecoding, "cannot write the request: %v", err)
	}
	timeout := defaultTimeout
	if conf.Timeout > 0 {
		timeout = time.Duration(conf.Timeout) * time.Second
	}
	ask := func() (answer, error) {
		line, err := exchange(conf.Socket, append(payload, '\n'), descriptors, timeout)
		if err != nil {
			return unreachable(verb, conf.Socket, err)
		}
		var reply answer
		if err := json.Unmarshal(line, &reply); err != nil {
			return answer{}, fail(codeTryAgain, "the runtime's answer is not valid (%v); was it stopped meanwhile?", err)
		}
		return reply, nil
	}
	reply, err := ask()
	if err != nil || reply.Needs != needsIPv6 || len(descriptors) == 0 {
		return reply, err
	}
	restore, err := switchIPv6On(descriptors[0])
	if err != nil {
		return answer{}, fail(codeIO, "cannot switch IPv6 on in the pod's network namespace: %v", err)
	}
	defer restore()
	return ask()
}

// unreachable turns "no runtime" into the verb's answer. A pod must be deletable without one: what it held is
// found and freed by the runtime when it is back.
func unreachable(verb, socket string, err error) (answer, error) {
	absent := errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
	if absent && (verb == "DEL" || verb == "GC") {
		return answer{}, nil
	}
	code := codeTryAgain
	if verb == "STATUS" {
		code = codeUnavailable
	}
	return answer{}, fail(code, "the runtime does not answer on %s: %v; is the quilt pod of this node running?", socket, err)
}

// descriptorsFor opens what the runtime needs of the pod: its namespace and a netlink socket inside it.
func descriptorsFor(verb, path string) ([]int, error) {
	if verb != "ADD" && verb != "CHECK" {
		return nil, nil
	}
	if path == "" {
		return nil, fail(codeEnvironment, "%s needs CNI_NETNS", verb)
	}
	namespace, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fail(codeIO, "cannot open the pod's network namespace %s: %v", path, err)
	}
	netlink, err := netlinkIn(namespace)
	if err != nil {
		syscall.Close(namespace)
		return nil, fail(codeIO, "cannot open a netlink socket in %s: %v", path, err)
	}
	return []int{namespace, netlink}, nil
}

func closeAll(descriptors []int) {
	for _, descriptor := range descriptors {
		syscall.Close(descriptor)
	}
}

func cniEnvironment(environ []string) map[string]string {
	env := map[string]string{}
	for _, entry := range environ {
		key, value, found := strings.Cut(entry, "=")
		if found && strings.HasPrefix(key, "CNI_") {
			env[key] = value
		}
	}
	return env
}

func refuse(stdout io.Writer, version string, err error) int {
	document := &cniError{Code: codeIO, Msg: err.Error()}
	errors.As(err, &document)
	document.CNIVersion = version
	if version == "" {
		document.CNIVersion = versions[len(versions)-1]
	}
	print(stdout, document)
	return 1
}

func print(stdout io.Writer, document any) int {
	if err := json.NewEncoder(stdout).Encode(document); err != nil {
		return 1
	}
	return 0
}
