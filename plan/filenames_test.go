package plan

import (
	"slices"
	"testing"
)

func TestFileNamesAreThoseThatScenariosRead(t *testing.T) {
	p, _, err := Parse([]byte(`
version: "1.0"
config: {baseUrl: "http://h", duration: 1m, tls: {ca: ca.pem}}
load: {model: concurrent}
scenarios:
  - {name: a, dataFile: {path: users.csv}, steps: [{request: {method: PUT, path: /, bodyFile: big.bin}}]}
  - {name: b, steps: [{request: {method: GET, path: /}}, {request: {method: POST, path: /, multipart: [{name: x, value: y}, {name: z, file: in/z.png}]}}]}
  - {name: c, dataFile: {path: users.csv}, steps: [{request: {method: PUT, path: /, bodyFile: users.csv}}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.FileNames(), []string{"users.csv", "big.bin", "in/z.png"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if got := (&Plan{}).FileNames(); len(got) != 0 {
		t.Errorf("a plan without scenarios names %q", got)
	}
}
