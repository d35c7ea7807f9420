package loadgen

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/theory/jsonpath"
)

// jsonQuery is a JSONPath of RFC 9535. Beyond it, names after a dot may have
// hyphens and whatever else is no dot or bracket ($.headers.User-Agent), as
// the predecessor's plans write them.
type jsonQuery struct {
	path *jsonpath.Path
	way  way // nil if it is not that simple
}

func newJSONQuery(text string) (jsonQuery, error) {
	path, err := jsonpath.Parse(bracketed(strings.TrimSpace(text)))
	if err != nil {
		return jsonQuery{}, fmt.Errorf("%q is no JSONPath: %w (RFC 9535, such as $.items[0].id)", text, err)
	}
	return jsonQuery{path, wayOf(path.Query())}, nil
}

// bracketed writes the names after dots that need it as ['name'].
func bracketed(text string) string {
	var out strings.Builder
	var quote byte
	depth := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == '\\' && i+1 < len(text):
			out.WriteByte(c)
			i++
			c = text[i]
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == '.':
			if name := nameAfterDot(text[i+1:], depth > 0); name != "" {
				if strings.HasSuffix(text[:i], ".") {
					out.WriteByte('.') // of "..name" both stay: "..['name']"
				}
				out.WriteString(inBrackets(name))
				i += len(name)
				continue
			}
		}
		out.WriteByte(c)
	}
	return out.String()
}

// nameAfterDot is the name that a text begins with if it has to be put in
// brackets. In a filter, where more may follow a name than a dot or a bracket,
// only hyphens between letters and digits are taken for a part of it.
func nameAfterDot(text string, inFilter bool) string {
	end := 0
	for end < len(text) && (inFilter && (isNameByte(text[end]) || text[end] == '-' && end > 0) ||
		!inFilter && text[end] != '.' && text[end] != '[') {
		end++
	}
	name := text[:end]
	if name == "" || name == "*" || isDigit(name[0]) && inFilter {
		return ""
	}
	plain := !isDigit(name[0])
	for i := range len(name) {
		plain = plain && isNameByte(name[i])
	}
	if plain {
		return ""
	}
	return name
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isNameByte(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

func inBrackets(name string) string {
	return "['" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(name) + "']"
}

var (
	errNoNode    = errors.New("no value")
	errManyNodes = errors.New("more than one value")
)

// one is the only value that the query selects, as text: a string as it is, a
// number as the document writes it, an array or object as compact JSON.
func (q jsonQuery) one(document any) (string, error) {
	switch nodes := q.path.Select(document); len(nodes) {
	case 0:
		return "", errNoNode
	case 1:
		return valueText(nodes[0])
	}
	return "", errManyNodes
}

func valueText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("write value as JSON: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// parseJSON reads one document; numbers keep their text.
func parseJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		return nil, fmt.Errorf("the body is no JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the body is no JSON: something follows the document")
	}
	return out, nil
}
