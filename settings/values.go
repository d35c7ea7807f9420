package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

const mask = "<secret>"

// Secret is a text that no log, answer, report or error may show: every way of
// printing it gives "<secret>", or nothing if it is empty.
type Secret struct{ value string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the text itself.
func (s Secret) Reveal() string { return s.value }

// IsSet reports whether there is one.
func (s Secret) IsSet() bool { return s.value != "" }

// Decode sets the secret from a variable's value.
func (s *Secret) Decode(value string) error {
	s.value = value
	return nil
}

func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return mask
}

// GoString masks %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// Format masks every verb, those that do not fit a text included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText masks text encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON masks JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// LogValue masks log attributes.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// The types below carry the one set of parsing rules into envconfig, whose own
// rules for these kinds differ. An empty text leaves the value as it is.

var (
	errForm  = errors.New("not in the accepted form")
	errRange = errors.New("outside the accepted range")
)

type boolText bool

func (b *boolText) Decode(text string) error {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "":
	case "true", "1", "yes", "on":
		*b = true
	case "false", "0", "no", "off":
		*b = false
	default:
		return errForm
	}
	return nil
}

type intText int

func (i *intText) Decode(text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return errForm
	}
	*i = intText(n)
	return nil
}

type floatText float64

func (f *floatText) Decode(text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return errForm
	}
	*f = floatText(n)
	return nil
}

type durationText time.Duration

func (d *durationText) Decode(text string) error {
	if text == "" {
		return nil
	}
	parsed, err := parseDuration(text)
	if err != nil {
		return err
	}
	*d = durationText(parsed)
	return nil
}

// durationOrOffText is a duration for which "off" means 0.
type durationOrOffText time.Duration

func (d *durationOrOffText) Decode(text string) error {
	if strings.EqualFold(strings.TrimSpace(text), "off") {
		*d = 0
		return nil
	}
	return (*durationText)(d).Decode(text)
}

type listText []string

func (l *listText) Decode(text string) error {
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			*l = append(*l, item)
		}
	}
	return nil
}

// parseDuration reads a whole number with ms, s, m, h or d; a bare number is
// seconds. There is no sign, fraction or combination.
func parseDuration(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyz")
	unit, ok := unitOf(text[len(digits):])
	if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, errForm
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > int64(math.MaxInt64/unit) {
		return 0, errRange
	}
	return time.Duration(n) * unit, nil
}

func unitOf(suffix string) (time.Duration, bool) {
	switch suffix {
	case "ms":
		return time.Millisecond, true
	case "s", "":
		return time.Second, true
	case "m":
		return time.Minute, true
	case "h":
		return time.Hour, true
	case "d":
		return 24 * time.Hour, true
	}
	return 0, false
}
