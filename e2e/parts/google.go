package parts

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
)

// GoogleToken is the access token that every machine's metadata server gives.
const GoogleToken = "ya29.machine"

// Machine is one virtual machine of a Google.
type Machine struct {
	Name, Zone, Status, IP string
	Group                  string // projects/…/instanceGroupManagers/…, "" if it is in none
	Labels                 map[string]string
}

// Google plays Google Compute Engine with one project: the Compute API's list
// of machines, two on a page, and the metadata server of each. It answers as
// Google's documentation says, and was written by it, not by what volley asks.
type Google struct {
	// Compute is the base URL of the Compute API.
	Compute string

	mu       sync.Mutex
	machines []Machine
	refusal  string
	asked    []string
	servers  []*httptest.Server
}

// StartGoogle starts it; Stop ends it.
func StartGoogle(machines ...Machine) *Google {
	g := &Google{machines: machines}
	g.Compute = g.serve(g.compute) + "/compute/v1/"
	return g
}

func (g *Google) serve(handle http.HandlerFunc) (url string) {
	server := httptest.NewServer(handle)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.servers = append(g.servers, server)
	return server.URL
}

// Stop ends all its servers.
func (g *Google) Stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.servers {
		s.Close()
	}
}

// Set replaces the machines.
func (g *Google) Set(machines ...Machine) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.machines = machines
}

// Refuse makes the Compute API answer 403 with a message; "" ends that.
func (g *Google) Refuse(message string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusal = message
}

// Asked are the filters that the Compute API was given, one of each page.
func (g *Google) Asked() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.asked...)
}

// Metadata starts the metadata server as the machine m sees it, and returns
// its host:port. Without account the machine has no service account.
func (g *Google) Metadata(m Machine, account bool) (host string) {
	values := map[string]string{
		"project/project-id": "proj", "instance/name": m.Name, "instance/network-interfaces/0/ip": m.IP,
		"instance/zone": "projects/123/zones/" + m.Zone,
	}
	if m.Group != "" {
		values["instance/attributes/created-by"] = m.Group
	}
	if account {
		values["instance/service-accounts/default/token"] = `{"access_token":"` + GoogleToken + `","expires_in":3599,"token_type":"Bearer"}`
		values["instance/service-accounts/default/email"] = "volley@proj.iam.gserviceaccount.com"
	}
	url := g.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		value, ok := values[strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/")]
		switch {
		case r.URL.Path == "/":
			fmt.Fprintln(w, "computeMetadata/")
		case r.Header.Get("Metadata-Flavor") != "Google":
			http.Error(w, "Missing required header: Metadata-Flavor", http.StatusForbidden)
		case !ok:
			http.NotFound(w, r)
		default:
			fmt.Fprint(w, value)
		}
	})
	return strings.TrimPrefix(url, "http://")
}

// compute answers GET projects/proj/aggregated/instances.
func (g *Google) compute(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	filter := r.FormValue("filter")
	g.asked = append(g.asked, filter)
	switch {
	case r.Method != http.MethodGet || r.URL.Path != "/compute/v1/projects/proj/aggregated/instances":
		refuse(w, http.StatusNotFound, "no such method: "+r.Method+" "+r.URL.Path)
		return
	case r.Header.Get("Authorization") != "Bearer "+GoogleToken:
		refuse(w, http.StatusUnauthorized, "Request had invalid authentication credentials.")
		return
	case g.refusal != "":
		refuse(w, http.StatusForbidden, g.refusal)
		return
	}
	matches, err := matching(filter)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	page, next := []Machine{}, ""
	for _, m := range g.machines {
		switch {
		case !matches(m) || m.Name <= r.FormValue("pageToken"):
		case len(page) == 2:
			next = page[1].Name
		default:
			page = append(page, m)
		}
	}
	// A zone without machines has a warning instead, as the real list does.
	items := map[string]any{"zones/asia-east1-a": map[string]any{"warning": map[string]string{"code": "NO_RESULTS_ON_PAGE"}}}
	zones := map[string][]any{}
	for _, m := range page {
		zones[m.Zone] = append(zones[m.Zone], resource(m))
	}
	for zone, instances := range zones {
		items["zones/"+zone] = map[string]any{"instances": instances}
	}
	answer := map[string]any{"kind": "compute#instanceAggregatedList", "items": items}
	if next != "" {
		answer["nextPageToken"] = next
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// matching understands the two kinds of filters that Google documents: labels.KEY="VALUE"
// and name eq REGEXP, which matches the whole name.
func matching(filter string) (func(Machine) bool, error) {
	if m := regexp.MustCompile(`^labels\.([a-z0-9_-]+) ?= ?"?([a-z0-9_-]*)"?$`).FindStringSubmatch(filter); m != nil {
		return func(machine Machine) bool { return machine.Labels[m[1]] == m[2] }, nil
	}
	if m := regexp.MustCompile(`^name eq (\S+)$`).FindStringSubmatch(filter); m != nil {
		name, err := regexp.Compile("^(?:" + m[1] + ")$")
		return func(machine Machine) bool { return name.MatchString(machine.Name) }, err
	}
	return nil, fmt.Errorf("invalid value for field 'filter': '%s'", filter)
}

func resource(m Machine) map[string]any {
	items := []map[string]string{{"key": "cos-update-strategy", "value": "update_disabled"}}
	if m.Group != "" {
		items = append(items, map[string]string{"key": "created-by", "value": m.Group})
	}
	return map[string]any{
		"kind": "compute#instance", "name": m.Name, "status": m.Status, "labels": m.Labels,
		"metadata":          map[string]any{"kind": "compute#metadata", "items": items},
		"networkInterfaces": []map[string]any{{"name": "nic0", "networkIP": m.IP}, {"name": "nic1", "networkIP": "192.168.0.1"}},
	}
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": status, "message": message, "errors": []map[string]string{{"message": message, "domain": "global", "reason": "forbidden"}},
	}})
}
