package plan

import (
	"reflect"
	"testing"
)

func TestLocate(t *testing.T) {
	document := []byte(`version: "1.0"
config: {baseUrl: "http://a"}
load: {model: concurrent}
scenarios:
  - name: s
    steps:
      - &first
        name: a
        request:
          method: GET
          path: /${env.NOPE}
      - *first
`)
	text := "scenarios[0].steps[1].request.path: second\n" +
		"scenarios[0].steps[0].request.path: ${env.NOPE} is not known: sorry\n" +
		"scenarios[0].steps[0].extract[3].regex: gone\n" +
		"scenarios[9].name: gone too\n" +
		"something else"
	want := Errors{
		{Message: "something else"},
		{Line: 5, Column: 3, Path: "scenarios[9].name", Message: "gone too"},
		{Line: 7, Column: 9, Path: "scenarios[0].steps[0].extract[3].regex", Message: "gone"},
		{Line: 11, Column: 17, Path: "scenarios[0].steps[0].request.path", Message: "${env.NOPE} is not known: sorry"},
		{Line: 11, Column: 17, Path: "scenarios[0].steps[1].request.path", Message: "second"},
	}
	if got := Locate(document, text); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	if got := Locate([]byte("\x00: ["), "load.target: bad"); len(got) != 1 || got[0].Message != "load.target: bad" {
		t.Errorf("of no document: %v", got)
	}
}
