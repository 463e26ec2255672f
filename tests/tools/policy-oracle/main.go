// What kube-network-policies makes of NetworkPolicies: worlds on stdin, one JSON object a line, verdicts on
// stdout, one line of [egress, ingress] pairs for each. The test that asks is tests/unit/policy/test_oracle.py.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"

	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/informers"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/network"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

type connection struct {
	Client, Server, Protocol string
	Port                     int
}

type world struct {
	Pods        map[string]*v1.Pod // by address
	Namespaces  map[string]map[string]string
	Policies    []*networkingv1.NetworkPolicy
	Connections []connection
}

// The informers never run: they are filled by hand, for what is evaluated reads their caches alone.
func (w *world) verdicts(ctx context.Context) ([][2]bool, error) {
	factory := informers.NewSharedInformerFactory(nil, 0)
	policies := factory.Networking().V1().NetworkPolicies()
	oracle := networkpolicy.NewStandardNetworkPolicy(
		"", factory.Core().V1().Namespaces(), factory.Core().V1().Pods(), policies)
	for _, policy := range w.Policies {
		if err := policies.Informer().GetIndexer().Add(policy); err != nil {
			return nil, err
		}
	}
	found := make([][2]bool, 0, len(w.Connections))
	for _, asked := range w.Connections {
		client, server := w.pod(asked.Client), w.pod(asked.Server)
		packet := &network.Packet{
			SrcIP: net.ParseIP(asked.Client), DstIP: net.ParseIP(asked.Server),
			Proto: v1.Protocol(asked.Protocol), SrcPort: 40000, DstPort: asked.Port,
		}
		egress, err := oracle.EvaluateEgress(ctx, packet, client, server)
		if err != nil {
			return nil, err
		}
		ingress, err := oracle.EvaluateIngress(ctx, packet, client, server)
		if err != nil {
			return nil, err
		}
		found = append(found, [2]bool{egress != api.VerdictDeny, ingress != api.VerdictDeny})
	}
	return found, nil
}

func (w *world) pod(address string) *api.PodInfo {
	pod := w.Pods[address]
	if pod == nil {
		return nil
	}
	return api.NewPodInfo(pod, w.Namespaces[pod.Namespace], nil, "")
}

func run() error {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for decoder := json.NewDecoder(in); decoder.More(); {
		var asked world
		if err := decoder.Decode(&asked); err != nil {
			return err
		}
		found, err := asked.verdicts(context.Background())
		if err != nil {
			return err
		}
		if err := out.Encode(found); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
