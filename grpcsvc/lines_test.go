package grpcsvc

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// What gRPC says itself is a line of the log, as severe as it is to a user.
func TestOwnLinesAreLinesOfTheLog(t *testing.T) {
	var out bytes.Buffer
	o := ownLines{slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	o.Infof("not %s", "told")
	o.Warning("half", " said")
	o.Errorf("cannot %s", "listen")
	text := out.String()
	for _, want := range []string{`"level":"DEBUG","msg":"gRPC: half said","event":"grpc"`, `"level":"WARN","msg":"gRPC: cannot listen","event":"grpc"`} {
		if strings.Count(text, want) != 1 {
			t.Errorf("want one line with %s:\n%s", want, text)
		}
	}
	if strings.Count(text, "\n") != 2 || o.V(2) {
		t.Errorf("want two lines:\n%s", text)
	}
	before := slog.Default()
	defer slog.SetDefault(before)
	out.Reset()
	slog.SetDefault(o.log)
	if (ownLines{}).Error("late"); !strings.Contains(out.String(), "gRPC: late") {
		t.Errorf("the default log has %q", out.String())
	}
}
