package loadgen

import (
	"bytes"
	"context"
	"net/http"
	"time"
)

// errand is a request on its way, and what is asked of its response.
type errand struct {
	ctx        context.Context // its end interrupts
	came       time.Time       // when the errand began
	deadline   time.Time
	route      route
	idempotent bool
	toHEAD     bool
	// wire has the bytes of the whole request, as our own client sends them; req
	// is what net/http sends. At least one of them is there.
	wire []byte
	req  *http.Request

	headers   bool // of the response are asked for, whatever it is
	coding    bool // if it says how its body is coded
	cookies   bool // if it sets some
	redirects bool // if it leads elsewhere
}

// within is a context that ends with its time.
func (k *errand) within() (context.Context, context.CancelFunc) {
	return context.WithDeadline(k.ctx, k.deadline)
}

// wants is whether anybody asks for the headers of a response.
func (k *errand) wants(p *reply) bool {
	return k.headers || k.coding && p.coded || k.cookies && p.cookies || k.redirects && p.located && isRedirect(p.status)
}

// late is whether its time was over at an instant.
func (k *errand) late(at time.Time) bool { return !at.Before(k.deadline) }

// write makes the bytes of a request that is not too long to be made at once. A
// connection that serves only this one is said so last, as net/http does.
func (k *errand) write(to *bytes.Buffer, last bool) error {
	if k.wire != nil {
		return nil
	}
	if k.req.ContentLength > shortRequest {
		if last {
			k.req.Header = k.req.Header.Clone()
			k.req.Header.Set("Connection", "close")
		}
		return nil
	}
	to.Reset()
	if err := k.req.Write(to); err != nil {
		return err
	}
	k.wire = to.Bytes()
	if last {
		k.wire = closing(k.wire)
	}
	return nil
}

// closing is a request with the header that announces that it is the last one.
func closing(request []byte) []byte {
	head, body, _ := bytes.Cut(request, []byte("\r\n\r\n"))
	return bytes.Join([][]byte{head, []byte("\r\nConnection: close\r\n\r\n"), body}, nil)
}
