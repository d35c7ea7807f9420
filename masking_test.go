package main

import (
	"strings"
	"testing"
)

func TestMaskBodies(t *testing.T) {
	for _, test := range []struct{ body, want string }{
		{`{"token":"abc def","n":1}`, `{"token":"<secret>","n":1}`},
		{`{ "a" : [ { "Client-Secret" : 12345.5 , "b" : "c" } ] }`, `{ "a" : [ { "Client-Secret" : "<secret>" , "b" : "c" } ] }`},
		{`{"credentials": {"user": "u-s-e-r", "list": [true, null, {"x": "y"}]}, "z": "z"}`, `{"credentials": {"user": "<secret>", "list": ["<secret>", null, {"x": "<secret>"}]}, "z": "z"}`},
		{`{"token": {}, "a": "b", "tokens": [], "c": "d"}`, `{"token": {}, "a": "b", "tokens": [], "c": "d"}`},
		{`{"key": "token", "token": "q\"uote"}`, `{"key": "token", "token": "<secret>"}`},
		{"{\"refresh_token\": \"r1\"}\n{\"jwt\": \"j1\"}", "{\"refresh_token\": \"<secret>\"}\n{\"jwt\": \"<secret>\"}"},
		{`{"password": "cut off in the mid`, `{"password": "<secret>`},
		{`callback({"password": "p1", "a": "b"})`, `callback({"password": "<secret>", "a": "b"})`},
		{"user=ann&password=p%20w&x=1", "user=ann&password=<secret>&x=1"},
		{"grant_type=password&client_secret=s3", "grant_type=password&client_secret=<secret>"},
		{"<login><user>ann</user><Password kind='a'>p1</Password></login>", "<login><user>ann</user><Password kind='a'><secret></Password></login>"},
		{`<input type="hidden" name="csrf_token" value="t1"><input value="t2" name='token'>`, `<input type="hidden" name="csrf_token" value="<secret>"><input value="<secret>" name='token'>`},
		{"--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\np1\r\n--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--b--\r\n",
			"--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n<secret>\r\n--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--b--\r\n"},
		{"see http://ann:pw@host/x?sid=1#a", "see http://<secret>@host/x?sid=<secret>#a"},
		{"nothing to hide: 1=2", "nothing to hide: 1=2"}, {"", ""}, {"[", "["}, {`{"a": "b"}`, `{"a": "b"}`},
	} {
		var m masker
		if got := m.body([]byte(test.body)); got != test.want {
			t.Errorf("%q becomes %q, want %q", test.body, got, test.want)
		}
	}
}

func TestMaskHeaders(t *testing.T) {
	for _, test := range []struct{ name, value, want, learned string }{
		{"Authorization", "Bearer abc.def", masked, "abc.def"}, {"proxy-authorization", "Basic dTpw", masked, ""},
		{"Cookie", "a=value-of-a; b=value-of-b", masked, "value-of-b"}, {"Set-Cookie", `s="value-of-s"; Path=/shopping`, masked, "value-of-s"},
		{"X-Auth-Token", "12345", masked, "12345"}, {"X-API-Key", "k", masked, ""}, {"Location", "/next?token=t1234&x=1", "/next?token=<secret>&x=1", "t1234"},
		{"Content-Type", "text/html; charset=utf-8", "text/html; charset=utf-8", ""}, {"X-Request-Id", "abc.def", "abc.def", ""},
	} {
		var m masker
		if got := m.header(test.name, test.value); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if test.learned != "" && m.hide("in "+test.learned+" text, /shopping") != "in "+masked+" text, /shopping" {
			t.Errorf("%s: %q is shown elsewhere", test.name, test.learned)
		}
	}
}

// What was a secret once is hidden elsewhere too, as it is and in a URL; what is
// too short to tell apart is not.
func TestMaskLearnedValues(t *testing.T) {
	var m masker
	m.body([]byte(`{"token": "a b/c+d", "password": "password", "pin": "12"}`))
	if got, want := m.hide("/x/a%20b%2Fc+d?y=a+b%2Fc%2Bd a b/c+d password 12"), "/x/<secret>?y=<secret> <secret> password 12"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for i := range 2 * mostLearned {
		m.learn("value-" + strings.Repeat("x", i))
	}
	if len(m.known) > mostLearned {
		t.Errorf("%d values are known, want at most %d", len(m.known), mostLearned)
	}
}
