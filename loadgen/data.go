package loadgen

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	// mostTableBytes is what the data files of one plan may take in memory
	// together.
	mostTableBytes = 256 << 20
	// mostColumns keeps the objects of a JSON file from having all different keys.
	mostColumns = 10_000
	// absent marks a cell without a value: text ends below it.
	absent = 1 << 31
)

// table is a data file in memory: read only, shared by all workers of a run. Its
// values lie one behind the other, so that a cell costs four bytes besides them.
type table struct {
	columns []string
	text    string
	ends    []uint32 // where each cell's value ends in text
	rows    []uint32 // where each row's cells end in ends
}

func (t *table) size() int { return len(t.rows) }

// cell is a row's value in a column; ok is false if the row has none there.
func (t *table) cell(row, column int) (value string, ok bool) {
	first := 0
	if row > 0 {
		first = int(t.rows[row-1])
	}
	at := first + column
	if at >= int(t.rows[row]) || t.ends[at]&absent != 0 {
		return "", false
	}
	begin := uint32(0)
	if at > 0 {
		begin = t.ends[at-1] &^ absent
	}
	return t.text[begin:t.ends[at]], true
}

// tableWriter makes a table of at most so many bytes.
type tableWriter struct {
	table
	most int64
	buf  strings.Builder
}

func (w *tableWriter) add(value string) {
	w.buf.WriteString(value)
	w.ends = append(w.ends, uint32(w.buf.Len()))
}

// skip adds a cell without a value.
func (w *tableWriter) skip() { w.ends = append(w.ends, uint32(w.buf.Len())|absent) }

// end ends a row; the error is that of a table that has become too large.
func (w *tableWriter) end() error {
	w.rows = append(w.rows, uint32(len(w.ends)))
	if w.bytes() > w.most {
		return fmt.Errorf("its rows are too large (the data files of a plan may take %d MiB of memory together)", mostTableBytes>>20)
	}
	return nil
}

func (w *tableWriter) bytes() int64 {
	return int64(w.buf.Len()) + 4*int64(len(w.ends)+len(w.rows))
}

func (w *tableWriter) done() *table {
	w.text = w.buf.String()
	return &w.table
}

// byteOrderMark is what some programs begin a file with.
const byteOrderMark = "\ufeff"

// parseTable reads a file of a format, csv or json, into a table of at most so
// many bytes of memory.
func parseTable(format, text string, most int64) (*table, error) {
	w := &tableWriter{most: most}
	parse := w.csv
	if format == "json" {
		parse = w.json
	}
	if err := parse(strings.TrimPrefix(text, byteOrderMark)); err != nil {
		return nil, err
	}
	if len(w.rows) == 0 {
		return nil, errors.New("is empty (at least one row is needed)")
	}
	return w.done(), nil
}

// csv reads RFC 4180 with a header row; every row has as many fields as that.
func (w *tableWriter) csv(text string) error {
	r := csv.NewReader(strings.NewReader(text))
	r.ReuseRecord, r.FieldsPerRecord = true, -1
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if w.columns == nil {
			if err := w.header(record); err != nil {
				return err
			}
			continue
		}
		if len(record) != len(w.columns) {
			line, _ := r.FieldPos(0)
			return fmt.Errorf("line %d: %d fields (%d are needed, as in the header)", line, len(record), len(w.columns))
		}
		for _, value := range record {
			w.add(value)
		}
		if err := w.end(); err != nil {
			return err
		}
	}
}

func (w *tableWriter) header(record []string) error {
	if len(record) > mostColumns {
		return fmt.Errorf("%d columns (at most %d are accepted)", len(record), mostColumns)
	}
	seen := make(map[string]bool, len(record))
	for _, name := range record {
		if name != "" && seen[name] {
			return fmt.Errorf("the header names column %q twice (each once)", name)
		}
		seen[name] = true
		w.columns = append(w.columns, strings.Clone(name))
	}
	return nil
}

// json reads an array of objects. Strings are their text, everything else is its
// JSON, compact; a key that an object lacks is no value.
func (w *tableWriter) json(text string) error {
	d := json.NewDecoder(strings.NewReader(text))
	if first, err := d.Token(); err != nil || first != json.Delim('[') {
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return errors.New("is no JSON array of objects (such as [{\"user\": \"ann\"}])")
	}
	known := map[string]int{}
	for d.More() {
		var object map[string]json.RawMessage
		err := d.Decode(&object)
		if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) || err == nil && object == nil {
			return fmt.Errorf("element %d is no object (every element has to be one)", len(w.rows)+1)
		}
		if err != nil {
			return fmt.Errorf("element %d: %w", len(w.rows)+1, cutShort(err))
		}
		if err := w.object(object, known); err != nil {
			return fmt.Errorf("element %d: %w", len(w.rows), err)
		}
	}
	if _, err := d.Token(); err != nil {
		return cutShort(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("something follows the array, at byte %d", d.InputOffset())
	}
	return nil
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// object adds a row; known numbers the columns.
func (w *tableWriter) object(object map[string]json.RawMessage, known map[string]int) error {
	var fresh []string
	for name := range object {
		if _, ok := known[name]; !ok {
			fresh = append(fresh, name)
		}
	}
	slices.Sort(fresh)
	for _, name := range fresh {
		known[name] = len(w.columns)
		w.columns = append(w.columns, name)
	}
	var err error
	if len(w.columns) > mostColumns {
		err = fmt.Errorf("the objects have more than %d different keys (at most so many are accepted)", mostColumns)
	}
	for _, name := range w.columns {
		raw, ok := object[name]
		if !ok {
			w.skip()
			continue
		}
		value, bad := jsonValue(raw)
		err = errors.Join(err, bad)
		w.add(value)
	}
	return errors.Join(w.end(), err)
}

func jsonValue(raw json.RawMessage) (string, error) {
	if raw[0] == '"' {
		var text string
		err := json.Unmarshal(raw, &text)
		return text, err
	}
	var compact bytes.Buffer
	err := json.Compact(&compact, raw)
	return compact.String(), err
}
