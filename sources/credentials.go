package sources

import (
	"context"
	"errors"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/compute/metadata"
)

// credentialsLimit bounds the search for credentials and the first token. Off
// Google's machines the search probes for a metadata server that is not there.
const credentialsLimit = 8 * time.Second

// Scopes of the access token: of who only reads, and of who writes, too.
const (
	readOnly  = "https://www.googleapis.com/auth/devstorage.read_only"
	readWrite = "https://www.googleapis.com/auth/devstorage.read_write"
)

const adcAdvice = "Application Default Credentials are looked for in the file that GOOGLE_APPLICATION_CREDENTIALS names, " +
	"then where `gcloud auth application-default login` leaves them, then at the metadata server of GCE and Cloud Run " +
	"(attach a service account there)"

// search is one search for credentials. The library's cannot be cancelled (it
// ends by itself after a few seconds), so it runs beside and is waited for.
type search struct {
	done  chan struct{}
	creds *auth.Credentials
	err   error
}

func newSearch(scope string) *search {
	s := &search{done: make(chan struct{})}
	go func() { // ends by itself; Close waits for it
		defer close(s.done)
		s.creds, s.err = credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{scope}})
	}()
	return s
}

// running returns the search that is going on or has found something, or a new one.
func (c *connection) running() *search {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.search != nil {
		select {
		case <-c.search.done:
			if c.search.err == nil {
				return c.search
			}
		default:
			return c.search
		}
	}
	c.search = newSearch(c.scope)
	return c.search
}

// authorise finds credentials and sees that they yield a token.
func (c *connection) authorise(ctx context.Context) (*auth.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, credentialsLimit)
	defer cancel()
	search := c.running()
	select {
	case <-search.done:
	case <-ctx.Done():
		return nil, fail(ErrCredentials, ctx.Err(), "the search for them did not end; %s", adcAdvice)
	}
	if search.err != nil {
		return nil, fail(ErrCredentials, search.err, "%s", adcAdvice)
	}
	if _, err := search.creds.Token(ctx); err != nil {
		return nil, explainToken(err, len(search.creds.JSON()) == 0)
	}
	return search.creds, nil
}

// explainToken gives the failure to get a token its kind. A metadata server is
// as near as can be: one that does not answer is not waited for.
func explainToken(err error, fromMetadata bool) error {
	var undefined metadata.NotDefinedError
	var answer *auth.Error
	switch {
	case errors.As(err, &undefined):
		return fail(ErrCredentials, err, "the metadata server knows no service account: attach one to this machine or Cloud Run job (role roles/storage.objectViewer)")
	case fromMetadata:
		return fail(ErrCredentials, err, "the metadata server gives no token; %s", adcAdvice)
	case errors.As(err, &answer) && answer.Response != nil && !temporary(answer.Response.StatusCode):
		return fail(ErrCredentials, err, "the credentials found are not accepted; %s", adcAdvice)
	case errors.As(err, &answer):
		return fail(ErrUnreachable, err, "the token server answers but cannot serve")
	default:
		return explainTransport(err, "the token server")
	}
}
