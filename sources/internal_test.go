package sources

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatienceTriesUntilTheEndAndSaysTheLastCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		tries, heard := 0, 0
		started := time.Now()
		_, err := defaultPatience().fetch(ctx, "origin", func(error) { heard++ }, func(context.Context) (Document, error) {
			tries++
			return Document{}, fail(ErrUnreachable, nil, "try %d", tries)
		})
		if took := time.Since(started); took != 30*time.Second {
			t.Errorf("gave up after %s, want 30s", took)
		}
		if !errors.Is(err, ErrUnreachable) || !strings.HasPrefix(err.Error(), "fetch origin: gave up after 30s (tries: ") {
			t.Errorf("got %v", err)
		}
		if tries < 30 || tries > 70 || heard != tries { // waits of 0.5 to 1 s
			t.Errorf("%d tries, heard of %d", tries, heard)
		}
	})
}

func TestPatienceCutsASilentTryAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		tries := 0
		doc, err := defaultPatience().fetch(t.Context(), "origin", nil, func(ctx context.Context) (Document, error) {
			if tries++; tries == 1 {
				<-ctx.Done()
				return Document{}, ctx.Err()
			}
			return Document{Origin: "origin"}, nil
		})
		if err != nil || doc.Origin != "origin" || tries != 2 {
			t.Errorf("got %+v, %v after %d tries", doc, err, tries)
		}
		if took := time.Since(started); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("it took %s, want the 10 s of a try and a short wait", took)
		}
	})
}

func TestPatienceEndsWithoutADeadlineToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		_, err := defaultPatience().fetch(context.Background(), "origin", nil, func(ctx context.Context) (Document, error) {
			<-ctx.Done()
			return Document{}, ctx.Err()
		})
		if took := time.Since(started); took != 30*time.Second || !errors.Is(err, ErrTimeout) {
			t.Errorf("ended after %s with %v, want 30s and no answer in time", took, err)
		}
	})
}

func TestPatienceDoesNotRepeatWhatIsPermanent(t *testing.T) {
	tries := 0
	_, err := defaultPatience().fetch(t.Context(), "origin", nil, func(context.Context) (Document, error) {
		tries++
		return Document{}, fail(ErrNotFound, nil, "nothing there")
	})
	if tries != 1 || err == nil || err.Error() != "fetch origin: not found: nothing there" {
		t.Errorf("%d tries, %v", tries, err)
	}
}

func TestPlainHTTPMakesNoPublicConnection(t *testing.T) {
	for address, allowed := range map[string]bool{
		"127.0.0.1:80": true, "10.0.0.1:80": true, "192.168.1.1:80": true, "169.254.169.254:80": true, "[fd00::1]:80": true, "[::1]:80": true,
		"8.8.8.8:80": false, "[2001:4860::1]:80": false, "[::ffff:8.8.8.8]:80": false,
	} {
		if err := onlyInternal("tcp", address, nil); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
	base, err := parseEndpoint("http://proxy")
	if err != nil || base.String() != "http://proxy/storage/v1/" {
		t.Errorf("base %v, %v", base, err)
	}
	if _, err := transportTo(base, false).DialContext(t.Context(), "tcp", netip.MustParseAddrPort("203.0.113.1:9").String()); err == nil ||
		!strings.Contains(err.Error(), "public address 203.0.113.1") {
		t.Errorf("dialled a public address: %v", err)
	}
}
