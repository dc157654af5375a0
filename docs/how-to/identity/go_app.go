// SPDX-License-Identifier: Apache-2.0

// net/http behind the gate: who is calling comes from the gate's headers, and from nothing else.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
)

// Caller is who the gate let in, and what it decided on.
type Caller struct {
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	Account string `json:"account"`
	Project string `json:"project"`
}

// callerOf reads the headers that the gate sets on each request, even if they are empty.
func callerOf(request *http.Request) (caller Caller, err error) {
	for name, place := range map[string]*string{
		"X-Watchword-Subject": &caller.Subject,
		"X-Watchword-Issuer":  &caller.Issuer,
		"X-Watchword-Account": &caller.Account,
		"X-Watchword-Project": &caller.Project,
	} {
		values := request.Header.Values(name)
		if len(values) != 1 {
			return Caller{}, fmt.Errorf("%s came %d times: this app has to be behind its gate", name, len(values))
		}
		*place = values[0]
	}
	return caller, nil
}

// withCaller gives a handler its caller; on a route that is public at the gate there is none.
func withCaller(handle func(http.ResponseWriter, *http.Request, Caller)) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		caller, err := callerOf(request)
		if err != nil {
			log.Print(err)
			http.Error(response, "misconfigured", http.StatusInternalServerError)
			return
		}
		if caller.Subject == "" || caller.Issuer == "" {
			http.Error(response, "this needs a caller, and its route is public at the gate", http.StatusUnauthorized)
			return
		}
		handle(response, request, caller)
	}
}

// builds answers for the account and the project that the gate decided on.
func builds(response http.ResponseWriter, _ *http.Request, caller Caller) {
	if caller.Account == "" || caller.Project == "" {
		http.Error(response, "the route at the gate has to name {account} and {project}", http.StatusInternalServerError)
		return
	}
	response.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(response).Encode(caller)
}

func main() {
	http.HandleFunc("GET /accounts/{account}/projects/{project}/builds", withCaller(builds))
	// Loopback: only the gate of this pod reaches it.
	log.Fatal(http.ListenAndServe("127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "8080"), nil))
}
