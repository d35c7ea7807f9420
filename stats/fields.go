package stats

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// maxRows bounds each list of a result in a log line: collectors cut or refuse
// entries of more than some 256 KiB.
const maxRows = 100

// Fields is the result for a log line: the JSON without what is not for reading
// there, histograms and what is over time, and with lists cut at 100 rows; how many were
// left out stands beside them, under the list's name and "_left_out".
func (r *Result) Fields() (map[string]any, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("make fields of a result: %w", err)
	}
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // counters stay whole
	if err := d.Decode(&fields); err != nil {
		return nil, fmt.Errorf("make fields of a result: %w", err)
	}
	delete(fields, "series")
	for name, value := range fields {
		if rows, ok := value.([]any); ok && len(rows) > maxRows {
			fields[name], fields[name+"_left_out"] = rows[:maxRows], len(rows)-maxRows
		}
	}
	withoutBulk(fields)
	return fields, nil
}

func withoutBulk(value any) {
	switch v := value.(type) {
	case map[string]any:
		delete(v, "histogram")
		delete(v, "over_time")
		for _, inner := range v {
			withoutBulk(inner)
		}
	case []any:
		for _, inner := range v {
			withoutBulk(inner)
		}
	}
}
