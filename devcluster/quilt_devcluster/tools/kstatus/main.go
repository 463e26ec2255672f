// What kstatus makes of a Kubernetes object: its JSON is read from standard input, the status printed in one word.
// Flux and kubectl-like tools wait by this library.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	var object unstructured.Unstructured
	if err := json.NewDecoder(os.Stdin).Decode(&object); err != nil {
		fail(err)
	}
	result, err := status.Compute(&object)
	if err != nil {
		fail(err)
	}
	fmt.Println(result.Status)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
