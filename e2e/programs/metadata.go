package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

// metadataServer plays the metadata server of a GCE machine, with a service
// account or (noAccount) without one.
type metadataServer struct {
	token     string
	noAccount bool
	requests  atomic.Int64
	tokens    atomic.Int64
}

func runMetadata(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("metadata", flag.ContinueOnError)
	listen := flags.String("listen", ":8000", "address to listen on")
	token := flags.String("token", "fake-token", "access token to hand out")
	noAccount := flags.Bool("no-account", false, "be a machine without a service account")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return serve(ctx, *listen, &metadataServer{token: *token, noAccount: *noAccount}, nil)
}

// ServeHTTP answers as Google's documentation of the metadata server says: the
// header Metadata-Flavor in both directions. GET /_stats says what was asked.
func (m *metadataServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/_stats" {
		_ = json.NewEncoder(w).Encode(map[string]int64{"requests": m.requests.Load(), "tokens": m.tokens.Load()})
		return
	}
	m.requests.Add(1)
	w.Header().Set("Metadata-Flavor", "Google")
	if r.Header.Get("Metadata-Flavor") != "Google" && r.URL.Path != "/" {
		http.Error(w, "Missing required header: Metadata-Flavor", http.StatusForbidden)
		return
	}
	switch r.URL.Path {
	case "/", "/computeMetadata/v1/", "/computeMetadata/v1/instance/":
		_, _ = io.WriteString(w, "computeMetadata/\n")
	case "/computeMetadata/v1/project/project-id":
		_, _ = io.WriteString(w, "proj")
	case "/computeMetadata/v1/instance/service-accounts/default/email":
		m.withAccount(w, r, func() { _, _ = io.WriteString(w, "sa@proj.iam.gserviceaccount.com") })
	case "/computeMetadata/v1/instance/service-accounts/default/token":
		m.withAccount(w, r, func() {
			m.tokens.Add(1)
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"access_token":%q,"expires_in":3599,"token_type":"Bearer"}`, m.token)
		})
	default:
		http.NotFound(w, r)
	}
}

func (m *metadataServer) withAccount(w http.ResponseWriter, r *http.Request, do func()) {
	if m.noAccount {
		http.NotFound(w, r)
		return
	}
	do()
}
