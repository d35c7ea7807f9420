package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/compute/metadata"
	"google.golang.org/api/googleapi"
)

const (
	computeAPI   = "https://compute.googleapis.com/compute/v1/"
	computeScope = "https://www.googleapis.com/auth/compute.readonly"
	// gceEvery spares the project's quota of reads, which all nodes share.
	gceEvery = 5 * time.Second
	gceLimit = 4 * time.Second
	// gcePages and gcePage bound what is read of one list: pages of at most 500
	// machines, and bytes of a page.
	gcePages = 20
	gcePage  = 64 << 20
)

// GCEConfig says which machines of Google Compute Engine are the nodes.
type GCEConfig struct {
	Label    string // key=value of their label; "" for those of this machine's managed instance group
	Port     string // on which all of them are called
	Endpoint string // base URL of the Compute API; "" is Google's own
}

// GCE finds nodes by the Compute API: the running machines of one managed
// instance group, or of one label, in all zones of this machine's project. It
// takes the one permission compute.instances.list.
//
// The one call is made here rather than by Google's generated client, which
// would be the largest package by far that this program is built of.
type GCE struct {
	listing
	config GCEConfig
	server *metadata.Client
	client *http.Client

	// Known once they have been found out; only within ask, one at a time.
	project string
	group   string // projects/…/instanceGroupManagers/…, as its machines name it
	base    string // what the names of the group's machines begin with
	creds   *auth.Credentials
}

// NewGCE returns them. Nobody is asked yet.
func NewGCE(config GCEConfig) *GCE {
	if config.Endpoint == "" {
		config.Endpoint = computeAPI
	}
	config.Endpoint = strings.TrimRight(config.Endpoint, "/") + "/"
	g := &GCE{config: config, server: metadata.NewClient(nil), client: &http.Client{}, listing: listing{every: gceEvery, limit: gceLimit}}
	g.ask = g.machines
	return g
}

// GCEAddress is this machine's address in its network, as the metadata server has it.
func GCEAddress(ctx context.Context) (netip.Addr, error) {
	text, err := ofMetadata(ctx, metadata.NewClient(nil), "instance/network-interfaces/0/ip")
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(text)
}

func ofMetadata(ctx context.Context, server *metadata.Client, path string) (string, error) {
	text, err := server.GetWithContext(ctx, path)
	if err != nil {
		return "", fmt.Errorf("DISCOVERY_MODE=gce: ask the metadata server of Google Compute Engine for %s: %w", path, err)
	}
	return strings.TrimSpace(text), nil
}

// machines are host:port of the nodes.
func (g *GCE) machines(ctx context.Context) ([]string, error) {
	if err := g.settle(ctx); err != nil {
		return nil, err
	}
	var addrs []string
	for page, token := 0, ""; page < gcePages; page++ {
		list, err := g.list(ctx, token)
		if err != nil {
			return nil, err
		}
		for _, scope := range list.Items {
			for _, m := range scope.Instances {
				if ip := m.addr(); ip != "" && g.ours(m) {
					addrs = append(addrs, net.JoinHostPort(ip, g.config.Port))
				}
			}
		}
		if token = list.NextPageToken; token == "" {
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("DISCOVERY_MODE=gce: more than %d pages of machines match %s", gcePages, g.filter())
}

// settle finds out what does not change while this machine lives.
func (g *GCE) settle(ctx context.Context) (err error) {
	if g.project == "" {
		if g.project, err = ofMetadata(ctx, g.server, "project/project-id"); err != nil {
			return err
		}
	}
	if g.config.Label == "" && g.group == "" {
		if err := g.findGroup(ctx); err != nil {
			return err
		}
	}
	if g.creds == nil {
		// It does not take ctx, but beside a metadata server that has answered it does not search for long.
		g.creds, err = credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{computeScope}})
	}
	return err
}

func (g *GCE) findGroup(ctx context.Context) error {
	name, err := ofMetadata(ctx, g.server, "instance/name")
	if err != nil {
		return err
	}
	group, err := ofMetadata(ctx, g.server, "instance/attributes/created-by")
	var undefined metadata.NotDefinedError
	if errors.As(err, &undefined) || err == nil && !strings.Contains(group, "/instanceGroupManagers/") {
		return fmt.Errorf("DISCOVERY_MODE=gce: the machine %s is in no managed instance group (its metadata has no created-by): set GCE_LABEL to key=value of a label that all nodes have", name)
	}
	if err != nil {
		return err
	}
	base := name
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		base = name[:i+1]
	}
	g.group, g.base = group, base
	return nil
}

// instance is what is read of a machine in the Compute API.
type instance struct {
	Name     string            `json:"name"`
	Status   string            `json:"status"`
	Labels   map[string]string `json:"labels"`
	Metadata struct {
		Items []struct{ Key, Value string } `json:"items"`
	} `json:"metadata"`
	Interfaces []struct {
		IPv4 string `json:"networkIP"`
		IPv6 string `json:"ipv6Address"`
	} `json:"networkInterfaces"`
}

// addr is its address on its first interface, as the metadata server has it, too.
func (m instance) addr() string {
	switch {
	case m.Status != "RUNNING" || len(m.Interfaces) == 0:
		return ""
	case m.Interfaces[0].IPv4 != "":
		return m.Interfaces[0].IPv4
	}
	return m.Interfaces[0].IPv6
}

func (g *GCE) ours(m instance) bool {
	if key, value, ok := strings.Cut(g.config.Label, "="); ok {
		return m.Labels[key] == value
	}
	return slices.ContainsFunc(m.Metadata.Items, func(i struct{ Key, Value string }) bool {
		return i.Key == "created-by" && i.Value == g.group
	})
}

// filter narrows down what is sent; ours decides.
func (g *GCE) filter() string {
	if key, value, ok := strings.Cut(g.config.Label, "="); ok {
		return "labels." + key + `="` + value + `"`
	}
	return "name eq " + g.base + ".*"
}

// machineList is a page of instances.aggregatedList.
type machineList struct {
	Items map[string]struct {
		Instances []instance `json:"instances"`
	} `json:"items"`
	NextPageToken string `json:"nextPageToken"`
}

func (g *GCE) list(ctx context.Context, page string) (list machineList, err error) {
	token, err := g.creds.Token(ctx)
	if err != nil {
		return list, fmt.Errorf("DISCOVERY_MODE=gce: no token for the Compute API: attach a service account to this machine: %w", err)
	}
	query := url.Values{"filter": {g.filter()}, "maxResults": {"500"}}
	if page != "" {
		query.Set("pageToken", page)
	}
	at := g.config.Endpoint + "projects/" + url.PathEscape(g.project) + "/aggregated/instances?" + query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return list, err
	}
	request.Header.Set("Authorization", "Bearer "+token.Value)
	answer, err := g.client.Do(request)
	if err != nil {
		return list, fmt.Errorf("DISCOVERY_MODE=gce: list machines: %w", err)
	}
	defer answer.Body.Close()
	if err := googleapi.CheckResponse(answer); err != nil {
		return list, explainCompute(err)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, gcePage)).Decode(&list); err != nil {
		return list, fmt.Errorf("DISCOVERY_MODE=gce: list machines: the answer is not understood: %w", err)
	}
	return list, nil
}

// explainCompute says what to do. A right that is missing is waited for: one
// that has just been given takes minutes to be known everywhere.
func explainCompute(err error) error {
	var refused *googleapi.Error
	if !errors.As(err, &refused) {
		return err
	}
	advice := ""
	if refused.Code == http.StatusForbidden {
		advice = ": the machine's service account needs the permission compute.instances.list in the project, the machine the scope cloud-platform or compute.readonly"
	}
	return fmt.Errorf("DISCOVERY_MODE=gce: list machines: status %d, %s%s", refused.Code, strings.TrimSpace(refused.Message), advice)
}
