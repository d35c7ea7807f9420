package node

import (
	"context"
	"slices"
	"strings"
	"testing"

	"volley/e2e/parts"
)

const (
	regional = "projects/123/regions/europe-west1/instanceGroupManagers/load"
	running  = "RUNNING"
)

// loadGroup is a group's machines among others, in several zones.
func loadGroup() []parts.Machine {
	return []parts.Machine{
		{Name: "load-aaaa", Zone: "europe-west1-b", Status: running, IP: "10.0.0.1", Group: regional},
		{Name: "load-bbbb", Zone: "europe-west1-c", Status: running, IP: "10.0.0.2", Group: regional, Labels: map[string]string{"volley": "shop"}},
		{Name: "load-cccc", Zone: "europe-west1-d", Status: running, IP: "10.0.0.3", Group: regional},
		{Name: "load-dddd", Zone: "europe-west1-b", Status: "STOPPING", IP: "10.0.0.4", Group: regional},
		{Name: "load-eeee", Zone: "europe-west1-b", Status: running, IP: "10.0.0.5", Group: regional + "-of-another"},
		{Name: "web-ffff", Zone: "us-central1-a", Status: running, IP: "10.0.0.6", Labels: map[string]string{"volley": "shop"}},
	}
}

// onGoogle makes this process one on the machine m.
func onGoogle(t *testing.T, m parts.Machine, account bool, machines ...parts.Machine) *parts.Google {
	t.Helper()
	google := parts.StartGoogle(machines...)
	t.Cleanup(google.Stop)
	t.Setenv("GCE_METADATA_HOST", google.Metadata(m, account))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir()) // no credentials of the developer's
	return google
}

func TestGCEFindsTheMachinesOfItsGroup(t *testing.T) {
	machines := loadGroup()
	google := onGoogle(t, machines[0], true, machines...)
	g := NewGCE(GCEConfig{Port: "7000", Endpoint: google.Compute})
	for range 2 { // the second answer is the first one's, kept
		got, err := g.Addresses(t.Context())
		if want := []string{"10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"}; err != nil || !slices.Equal(got, want) {
			t.Fatalf("got %v, %v; want %v", got, err, want)
		}
	}
	// Five machines have a name that begins so, and two are on a page.
	if want := []string{"name eq load-.*", "name eq load-.*", "name eq load-.*"}; !slices.Equal(google.Asked(), want) {
		t.Errorf("the API was asked for %q, want %q", google.Asked(), want)
	}
	ip, err := GCEAddress(t.Context())
	if err != nil || ip.String() != "10.0.0.1" {
		t.Errorf("this machine's address is %v, %v; want 10.0.0.1", ip, err)
	}
}

func TestGCEFindsTheMachinesOfALabel(t *testing.T) {
	machines := loadGroup()
	google := onGoogle(t, machines[5], true, machines...)
	g := NewGCE(GCEConfig{Label: "volley=shop", Port: "7001", Endpoint: google.Compute})
	got, err := g.Addresses(t.Context())
	if want := []string{"10.0.0.2:7001", "10.0.0.6:7001"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	// A machine that is gone is not kept, and what was known is while nothing can be found out.
	google.Set(machines[1])
	g.every = 0
	if got, err := g.Addresses(t.Context()); err != nil || !slices.Equal(got, []string{"10.0.0.2:7001"}) {
		t.Errorf("got %v, %v; want the one that is left", got, err)
	}
	google.Refuse("Required 'compute.instances.list' permission for 'projects/proj'")
	got, err = g.Addresses(t.Context())
	for _, want := range []string{"status 403", "Required 'compute.instances.list' permission", "needs the permission compute.instances.list"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q in it", err, want)
		}
	}
	if !slices.Equal(got, []string{"10.0.0.2:7001"}) {
		t.Errorf("refused, got %v; want the one known before", got)
	}
	google.Refuse("")
	if _, err := g.Addresses(t.Context()); err != nil {
		t.Errorf("refused no more, it says %v", err)
	}
}

func TestGCESaysWhatIsMissing(t *testing.T) {
	alone := parts.Machine{Name: "alone", Zone: "us-central1-a", Status: running, IP: "10.0.0.9"}
	for _, c := range []struct {
		name    string
		label   string
		account bool
		want    string
	}{
		{"no group", "", true, "the machine alone is in no managed instance group"},
		{"no service account", "a=b", false, "attach a service account"},
	} {
		t.Run(c.name, func(t *testing.T) {
			google := onGoogle(t, alone, c.account, alone)
			g := NewGCE(GCEConfig{Label: c.label, Port: "7000", Endpoint: google.Compute})
			if got, err := g.Addresses(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || len(got) > 0 {
				t.Errorf("got %v, %v; want an error with %q", got, err, c.want)
			}
		})
	}
	t.Run("no metadata server", func(t *testing.T) {
		t.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
		ctx, cancel := context.WithTimeout(t.Context(), gceLimit)
		defer cancel()
		if _, err := GCEAddress(ctx); err == nil || !strings.Contains(err.Error(), "ask the metadata server of Google Compute Engine for instance/network-interfaces/0/ip") {
			t.Errorf("the error is %v", err)
		}
	})
}
