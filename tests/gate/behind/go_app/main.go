// SPDX-License-Identifier: Apache-2.0

// A bare app of net/http, in HTTP/1.1 and with the second argument `h2c` in HTTP/2 alone: `echo` as it comes,
// `events` one at a time, `headers` as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

var next = make(chan struct{}, 16)

func answer(response http.ResponseWriter, request *http.Request) {
	control := http.NewResponseController(response)
	name := request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:]
	response.Header().Set("Content-Type", "application/octet-stream")
	switch name {
	case "echo":
		// HTTP/1.1 would read the body to its end before it answers.
		_ = control.EnableFullDuplex()
		_, _ = io.Copy(response, request.Body)
	case "events":
		response.Header().Set("Content-Type", "text/event-stream")
		for number := range 3 {
			fmt.Fprintf(response, "data: %d\n\n", number)
			_ = control.Flush()
			<-next
		}
	case "next":
		next <- struct{}{}
	default:
		found := [][2]string{}
		for key, values := range request.Header {
			for _, value := range values {
				found = append(found, [2]string{strings.ToLower(key), value})
			}
		}
		_ = json.NewEncoder(response).Encode(found)
	}
}

func main() {
	var protocols http.Protocols
	isHTTP2 := len(os.Args) > 2 && os.Args[2] == "h2c"
	protocols.SetHTTP1(!isHTTP2)
	protocols.SetUnencryptedHTTP2(isHTTP2)
	server := http.Server{
		Addr: "127.0.0.1:" + os.Args[1], Handler: http.HandlerFunc(answer), Protocols: &protocols,
	}
	log.Fatal(server.ListenAndServe())
}
