package loadgen

import (
	"testing"

	"volley/stats"
)

func TestPlaces(t *testing.T) {
	document := `version: "1.0"
config: {baseUrl: "https://Shop.test/api/", duration: 1s, connections: worker}
load: {model: concurrent}
scenarios:
  - name: s
    steps:
      - {name: plain, request: {method: GET, path: /items?q=1}}
      - {name: id, request: {method: DELETE, path: "items/${id}/x?q=${q}"}}
      - {name: other, request: {method: POST, path: "http://10.0.0.1:8080/y#z"}}
      - {name: anywhere, request: {method: GET, path: "http://${host}/y"}}
      - {name: node, request: {method: GET, path: "http://${node}.test/y"}}
      - {name: twice, request: {method: GET, path: /a}}
      - {name: twice, request: {method: PUT, path: /a}}
      - {name: v6, request: {method: GET, path: "http://[::1]/"}}
`
	got, err := Places(&Job{Document: []byte(document), NodeID: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Place{
		"plain":    {"GET", "https", "shop.test", 443, "/api/items"},
		"id":       {"DELETE", "https", "shop.test", 443, "/api/items/{id}/x"},
		"other":    {"POST", "http", "10.0.0.1", 8080, "/y"},
		"anywhere": {"GET", "", "", 0, "/y"},
		"node":     {"GET", "http", "n1.test", 80, "/y"},
		"twice":    {"", "https", "shop.test", 443, "/api/a"},
		"v6":       {"GET", "http", "::1", 80, "/"},
	} {
		if place := got[stats.StepKey{Scenario: "s", Step: name}]; place != want {
			t.Errorf("%s: %+v, want %+v", name, place, want)
		}
	}
	if _, err := Places(&Job{Document: []byte("x: [")}); err == nil {
		t.Error("what is no plan has places")
	}
}
