package plan

import (
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

const (
	acceptDuration = "a duration such as 500ms, 30s, 10m, 2h or 7d; a bare number is seconds"
	acceptSize     = "a whole number above 0 with the unit B, KB or MB, such as 512KB"
	acceptNumber   = "a number"
	acceptWhole    = "a whole number"
	acceptBool     = "true or false"
	acceptText     = "text, a number or a bool"
)

// decodeScalar stores a scalar if v holds one, and says whether it does.
func (d *decoder) decodeScalar(path string, node ast.Node, v reflect.Value) bool {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		if text, ok := d.scalar(path, node, acceptDuration); ok {
			value, problem := parseDuration(text)
			d.store(path, text, problem, acceptDuration)
			v.SetInt(int64(value))
		}
		return true
	}
	switch v.Kind() {
	case reflect.String:
		text, _ := d.scalar(path, node, acceptText)
		v.SetString(text)
	case reflect.Bool:
		d.decodeBool(path, node, v)
	case reflect.Int, reflect.Int64:
		if text, ok := d.scalar(path, node, acceptWhole); ok {
			value, problem := parseWhole(text)
			d.store(path, text, problem, acceptWhole)
			v.SetInt(value)
		}
	case reflect.Float64:
		if text, ok := d.scalar(path, node, acceptNumber); ok {
			value, problem := parseNumber(text)
			d.store(path, text, problem, acceptNumber)
			v.SetFloat(value)
		}
	default:
		return false
	}
	return true
}

func (d *decoder) decodeBool(path string, node ast.Node, v reflect.Value) {
	text, ok := d.scalar(path, node, acceptBool)
	if !ok {
		return
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "yes", "on", "1":
		v.SetBool(true)
	case "false", "no", "off", "0":
		v.SetBool(false)
	default:
		d.store(path, text, "is not a bool", acceptBool)
	}
}

// store reports what kept a scalar from being read; nothing if problem is "".
func (d *decoder) store(path, text, problem, accepted string) {
	if problem != "" {
		d.fail(path, "%s %s (%s)", show(path, text), problem, accepted)
	}
}

// scalar is the text of a scalar as it was written, so that 1.0 stays "1.0".
func (d *decoder) scalar(path string, node ast.Node, want string) (string, bool) {
	var text string
	switch n := node.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.LiteralNode:
		text = n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NanNode, *ast.InfinityNode:
		text = node.GetToken().Value
	default:
		d.wrongKind(path, node, want)
		return "", false
	}
	p := d.at[path]
	p.text, p.plain = text, true
	d.at[path] = p
	return text, true
}

var durationForm = regexp.MustCompile(`^(\d+)(\.\d+)?(ms|s|m|h|d)?$`)

var durationUnits = map[string]time.Duration{
	"": time.Second, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
}

// parseDuration reads a number with a unit; problem is "" if it could.
func parseDuration(text string) (value time.Duration, problem string) {
	text = strings.TrimSpace(text)
	if number, err := strconv.ParseFloat(text, 64); err == nil && number < 0 || strings.HasPrefix(text, "-") {
		return 0, "is negative"
	}
	parts := durationForm.FindStringSubmatch(text)
	if parts == nil {
		return 0, "is not a duration"
	}
	unit := durationUnits[parts[3]]
	units, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || units > math.MaxInt64/int64(unit) {
		return 0, "is too long for a duration"
	}
	value = time.Duration(units) * unit
	if parts[2] == "" {
		return value, ""
	}
	fraction, _ := strconv.ParseFloat("0"+parts[2], 64) // the form leaves nothing to fail
	part := time.Duration(math.Round(fraction * float64(unit)))
	if value > math.MaxInt64-part {
		return 0, "is too long for a duration"
	}
	return value + part, ""
}

func parseWhole(text string) (value int64, problem string) {
	text = strings.TrimSpace(text)
	value, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		return value, ""
	}
	number, problem := parseNumber(text)
	switch {
	case problem != "":
		return 0, strings.Replace(problem, "a number", "a whole number", 1)
	case number != math.Trunc(number):
		return 0, "is not a whole number"
	case math.Abs(number) >= 1<<53: // beyond, a fraction form is not exact
		return 0, "is too large"
	}
	return int64(number), ""
}

func parseNumber(text string) (value float64, problem string) {
	text = strings.ToLower(strings.TrimSpace(text))
	switch strings.TrimLeft(text, "+-.") {
	case "nan", "inf", "infinity":
		return 0, "is not a finite number"
	}
	if strings.ContainsAny(text, "x_p") { // Go's own number forms
		return 0, "is not a number"
	}
	value, err := strconv.ParseFloat(text, 64)
	if math.IsInf(value, 0) {
		return 0, "is not a finite number"
	}
	if err != nil {
		return 0, "is not a number"
	}
	return value, ""
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"KB", 1 << 10}, {"MB", 1 << 20}, {"B", 1}}

// parseSize reads a number of bytes with its unit.
func parseSize(text string) (size Size, problem string) {
	text = strings.ToUpper(strings.TrimSpace(text))
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(text, unit.suffix)
		if !ok {
			continue
		}
		digits = strings.TrimSpace(digits)
		value, err := strconv.ParseUint(digits, 10, 64)
		switch {
		case err != nil && strings.Trim(digits, "0123456789") != "" || digits == "":
			return 0, "is not a size"
		case err != nil || value > uint64(math.MaxInt64/unit.bytes):
			return 0, "is too large for a size"
		case value == 0:
			return 0, "is zero"
		}
		return Size(int64(value) * unit.bytes), ""
	}
	if text != "" && strings.Trim(text, "0123456789") == "" {
		return 0, "has no unit"
	}
	return 0, "is not a size"
}

const maxShown = 60 // characters of a value in a message

// show is a value as messages print it: numbers bare, text quoted and cut,
// and not at all where secrets live.
func show(path, text string) string {
	if secret(path) {
		return "the value"
	}
	if strings.HasSuffix(path, "baseUrl") || strings.HasSuffix(path, ".path") {
		text = maskURL(text)
	}
	if runes := []rune(text); len(runes) > maxShown {
		text = string(runes[:maxShown]) + "…"
	}
	if bareNumber.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}

var bareNumber = regexp.MustCompile(`^[-+]?[0-9.][0-9A-Za-z.+-]*$`)

// maskURL hides what a URL may carry of secrets: user information and query.
func maskURL(text string) string {
	if before, _, found := strings.Cut(text, "?"); found {
		text = before + "?…"
	}
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return text
	}
	authority, tail, slash := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		authority = "…" + authority[at:]
	}
	if slash {
		tail = "/" + tail
	}
	return scheme + "://" + authority + tail
}

var secretKeys = []string{"customHeaders", "headers", "body", "queryParams", "form", "multipart"}

// secret is true for paths at or under keys whose values are never quoted.
func secret(path string) bool {
	for ; path != ""; path = parent(path) {
		for _, key := range secretKeys {
			if path == key || strings.HasSuffix(path, "."+key) {
				return true
			}
		}
	}
	return false
}
