// The conformance tests of ClusterNetworkPolicy, as a program: what a package of tests asks for by flags of its
// own is all that they support here.
package main

import (
	"regexp"
	"testing"

	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	api "sigs.k8s.io/network-policy-api/apis/v1beta1"
	"sigs.k8s.io/network-policy-api/conformance/tests"
	"sigs.k8s.io/network-policy-api/conformance/utils/suite"
)

func main() {
	matches := func(pattern, name string) (bool, error) { return regexp.MatchString(pattern, name) }
	testing.Main(matches, []testing.InternalTest{{Name: "ClusterNetworkPolicy", F: conformance}}, nil, nil)
}

func conformance(t *testing.T) {
	access, err := config.GetConfig()
	fail(t, err)
	objects, err := client.New(access, client.Options{})
	fail(t, err)
	fail(t, api.Install(objects.Scheme()))
	pods, err := kubernetes.NewForConfig(access)
	fail(t, err)
	all := suite.New(suite.Options{
		Client:                     objects,
		ClientSet:                  pods,
		KubeConfig:                 *access,
		CleanupBaseResources:       true,
		EnableAllSupportedFeatures: true,
	})
	all.Setup(t)
	all.Run(t, tests.ConformanceTests)
}

func fail(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
