package main

import (
	"bytes"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func ask(t *testing.T, conf string, environ ...string) (int, map[string]any) {
	t.Helper()
	var out bytes.Buffer
	code := run(strings.NewReader(conf), &out, environ)
	document := map[string]any{}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &document); err != nil {
			t.Fatalf("%q: %v", out.String(), err)
		}
	}
	return code, document
}

func TestVersionNeedsNothing(t *testing.T) {
	code, document := ask(t, "", "CNI_COMMAND=VERSION")
	if code != 0 || document["cniVersion"] != "1.1.0" {
		t.Fatal(code, document)
	}
}

func TestWithoutRuntime(t *testing.T) {
	conf := `{"cniVersion":"1.0.0","name":"quilt","socket":"` + filepath.Join(t.TempDir(), "none") + `"}`
	for verb, want := range map[string]float64{"DEL": 0, "GC": 0, "STATUS": codeUnavailable, "ADD": codeTryAgain} {
		code, document := ask(t, conf, "CNI_COMMAND="+verb, "CNI_NETNS=/proc/self/ns/net")
		if verb == "ADD" && document["code"] == float64(codeIO) {
			t.Skip("opening a network namespace needs root")
		}
		if (code == 0) != (want == 0) || (want != 0 && document["code"] != want) {
			t.Errorf("%s: %d %v", verb, code, document)
		}
	}
}

func TestBadInput(t *testing.T) {
	if code, document := ask(t, "{", "CNI_COMMAND=ADD"); code != 1 || document["code"] != float64(codeDecoding) {
		t.Error(code, document)
	}
	if code, document := ask(t, "{}", "CNI_COMMAND=ADD"); code != 1 || document["code"] != float64(codeEnvironment) {
		t.Error(code, document)
	}
}

// answering starts a runtime that sends one line to each client; an empty line keeps it silent.
func answering(t *testing.T, line string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cni.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			if line != "" {
				connection.Read(make([]byte, 1<<16))
				connection.Write([]byte(line))
				connection.Close()
			}
		}
	}()
	return path
}

func TestAnswersArePassedOn(t *testing.T) {
	for line, want := range map[string]int{
		`{"result":{"cniVersion":"1.0.0"}}` + "\n": 0,
		`{"result":null}` + "\n":                   0,
		`{"error":{"code":7,"msg":"no"}}` + "\n":   1,
		"nonsense\n":                               1,
		"cut off":                                  1,
	} {
		conf := `{"name":"quilt","socket":"` + answering(t, line) + `"}`
		if code, document := ask(t, conf, "CNI_COMMAND=DEL"); code != want {
			t.Errorf("%q: %d %v", line, code, document)
		}
	}
}

func TestASilentRuntimeTimesOut(t *testing.T) {
	begun := time.Now()
	conf := `{"name":"quilt","timeoutSeconds":1,"socket":"` + answering(t, "") + `"}`
	code, document := ask(t, conf, "CNI_COMMAND=DEL")
	if code != 1 || document["code"] != float64(codeTryAgain) {
		t.Error(code, document)
	}
	if waited := time.Since(begun); waited > 20*time.Second {
		t.Errorf("waited %v", waited)
	}
}
