package loadgen

import (
	"errors"
	"strings"
	"testing"
)

const shop = `{"id": 12345678901234567890, "price": 1.0, "ok": true, "none": null, "name": "Ü \"x\" <b>", "deep": {"b": [1, {"c": "d"}], "a": 1.50},
 "headers": {"User-Agent": "volley", "x": {"y-z": 1}}, "list": [{"user-id": 7, "v": 1}, {"user-id": 8, "v": 2}], "1st": 1, "empty": ""}`

func TestJSONPathSelectsOneValueAsText(t *testing.T) {
	document, err := parseJSON([]byte(shop))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"$.id": "12345678901234567890", "$.price": "1.0", "$.ok": "true", "$.none": "null", "$.name": `Ü "x" <b>`,
		"$.deep": `{"a":1.50,"b":[1,{"c":"d"}]}`, "$.deep.b": `[1,{"c":"d"}]`, "$.deep.b[-1].c": "d", "$['deep']['a']": "1.50",
		"$.headers.User-Agent": "volley", "$.headers.x.y-z": "1", "$..y-z": "1", "$..c": "d", " $.ok ": "true", "$.1st": "1",
		"$.list[?@.user-id==8].v": "2", "$.list[?@['user-id']==7].v": "1", "$.list[?@.v>1.5].user-id": "8", "$.list[0]['user-id']": "7",
		`$["headers"]["User-Agent"]`: "volley", "$.empty": "", "$.list[?length(@)==2 && @.v == 1].v": "1",
	} {
		q, err := newJSONQuery(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got, err := q.one(document); err != nil || got != want {
			t.Errorf("%s selects %q, %v; want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]error{"$.nope": errNoNode, "$.list[9]": errNoNode, "$.list[*].v": errManyNodes, "$.name.x": errNoNode} {
		q, err := newJSONQuery(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := q.one(document); !errors.Is(err, want) {
			t.Errorf("%s selects %q, %v; want %v", path, got, err, want)
		}
	}
	for _, path := range []string{"$.a[?", "$[", "x", "$.a[b]"} {
		if _, err := newJSONQuery(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, text := range []string{"", "{", "1 2", "<html>"} {
		if _, err := parseJSON([]byte(text)); err == nil || !strings.Contains(err.Error(), "no JSON") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzJSONPath(f *testing.F) {
	for _, path := range []string{"$.headers.User-Agent", "$..['a-b']", "$.list[?@.user-id==8].v", "$[1:2]", `$['it\'s']`, "$.a.*", "$.list[?@.v>1.5e-3]"} {
		f.Add(path, shop)
	}
	f.Fuzz(func(t *testing.T, path, text string) {
		q, err := newJSONQuery(path)
		document, noJSON := parseJSON([]byte(text))
		if err != nil || noJSON != nil || len(path) > 100 || strings.Count(path, "..") > 3 {
			return // many descents over many nodes are legal and slow
		}
		_, _ = q.one(document)
	})
}
