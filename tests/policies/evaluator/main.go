// SPDX-License-Identifier: Apache-2.0

// What would the network do? One question as JSON on stdin, one answer as JSON on stdout: the policies of a
// cluster, and packets, each judged by Cyclonus's own reading of the NetworkPolicy API.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// A peer without a namespace is no pod: a node, or somebody outside of the cluster.
type peer struct {
	IP              string            `json:"ip"`
	Namespace       string            `json:"namespace"`
	NamespaceLabels map[string]string `json:"namespaceLabels"`
	Labels          map[string]string `json:"labels"`
}

type packet struct {
	From     peer            `json:"from"`
	To       peer            `json:"to"`
	Port     int             `json:"port"`
	Protocol corev1.Protocol `json:"protocol"`
}

type question struct {
	Policies []*networkingv1.NetworkPolicy `json:"policies"`
	Packets  []packet                      `json:"packets"`
}

func (p peer) traffic() *matcher.TrafficPeer {
	if p.Namespace == "" {
		return &matcher.TrafficPeer{IP: p.IP}
	}
	return &matcher.TrafficPeer{IP: p.IP, Internal: &matcher.InternalPeer{
		Namespace:       p.Namespace,
		NamespaceLabels: p.NamespaceLabels,
		PodLabels:       p.Labels,
	}}
}

func main() {
	var asked question
	// A field that the API does not know would be dropped in silence, and the judgment be of another policy.
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, "unreadable question:", err)
		os.Exit(2)
	}
	policy := matcher.BuildNetworkPolicies(false, asked.Policies)
	answers := make([]bool, 0, len(asked.Packets))
	for _, each := range asked.Packets {
		traffic := &matcher.Traffic{
			Source:       each.From.traffic(),
			Destination:  each.To.traffic(),
			ResolvedPort: each.Port,
			Protocol:     each.Protocol,
		}
		answers = append(answers, policy.IsTrafficAllowed(traffic).IsAllowed())
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		os.Exit(1)
	}
}
