package grpcsvc

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"google.golang.org/grpc/grpclog"
)

// LogThrough hands on what gRPC itself has to say, for the whole process: its
// errors as warnings, for what they mean for a call its caller tells, its warnings
// for debugging. A nil log is slog.Default() at the time. To be called before
// anything of gRPC is.
func LogThrough(log *slog.Logger) { grpclog.SetLoggerV2(ownLines{log}) }

// ownLines is grpclog's LoggerV2.
type ownLines struct{ log *slog.Logger }

func (o ownLines) tell(level slog.Level, text string) {
	log := o.log
	if log == nil {
		log = slog.Default()
	}
	log.Log(context.Background(), level, "gRPC: "+text, "event", "grpc")
}

func (o ownLines) Info(...any)          {}
func (o ownLines) Infoln(...any)        {}
func (o ownLines) Infof(string, ...any) {}

func (o ownLines) Warning(args ...any)            { o.tell(slog.LevelDebug, fmt.Sprint(args...)) }
func (o ownLines) Warningln(args ...any)          { o.tell(slog.LevelDebug, fmt.Sprint(args...)) }
func (o ownLines) Warningf(f string, args ...any) { o.tell(slog.LevelDebug, fmt.Sprintf(f, args...)) }
func (o ownLines) Error(args ...any)              { o.tell(slog.LevelWarn, fmt.Sprint(args...)) }
func (o ownLines) Errorln(args ...any)            { o.tell(slog.LevelWarn, fmt.Sprint(args...)) }
func (o ownLines) Errorf(f string, args ...any)   { o.tell(slog.LevelWarn, fmt.Sprintf(f, args...)) }

// Fatal and its kin end the process, as grpclog asks for.
func (o ownLines) Fatal(args ...any) {
	o.tell(slog.LevelError, fmt.Sprint(args...))
	os.Exit(1)
}

func (o ownLines) Fatalln(args ...any)          { o.Fatal(args...) }
func (o ownLines) Fatalf(f string, args ...any) { o.Fatal(fmt.Sprintf(f, args...)) }

func (o ownLines) V(int) bool { return false }
