package sources_test

import (
	"strings"
	"testing"

	"volley/sources"
)

func TestCheckEndpoint(t *testing.T) {
	for endpoint, words := range map[string]string{
		"https://storage.example.com/storage/v1/": "",
		"https://8.8.8.8":                         "",
		"http://localhost:4443/storage/v1/":       "",
		"http://127.0.0.1:4443":                   "",
		"http://[::1]:4443":                       "",
		"http://10.1.2.3/storage/v1":              "",
		"http://gcsproxy/storage/v1/":             "",
		"http://8.8.8.8/storage/v1/":              "public address 8.8.8.8",
		"http://[2001:4860::1]/":                  "public address 2001:4860::1",
		"":                                        "no scheme",
		"storage.example.com":                     "no scheme",
		"ftp://10.0.0.1/":                         "no scheme http or https",
		"https:///storage/v1/":                    "no host",
		"https://u:p@host/":                       "a user",
		"https://host/?a=b":                       "a query",
		"http://ho st/":                           "is no URL",
	} {
		err := sources.CheckEndpoint(endpoint)
		if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("%q: got %v, want %q", endpoint, err, words)
		}
		if err != nil && strings.Contains(err.Error(), "u:p@") {
			t.Errorf("the message shows a password: %v", err)
		}
	}
}
