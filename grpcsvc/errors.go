package grpcsvc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"volley/node"
)

// ErrClosed is returned by calls on a closed Client or Transport.
var ErrClosed = errors.New("connections are closed")

// errWrongServer refuses a Raft message for another server id. It is told
// apart from a wrong cluster because it alone proves that the id is gone.
var errWrongServer = fmt.Errorf("%w: another server id", node.ErrOtherCluster)

// errTermLeap refuses a Raft message whose term no election could have reached.
var errTermLeap = fmt.Errorf("%w: the term is out of reach", node.ErrRefused)

const (
	errorDomain = "volley"
	// maxErrorText bounds the text of an error on the wire in bytes. It travels
	// in HTTP/2 headers, percent-encoded and again as base64: five times this
	// stays well under the 16 MiB that the client accepts.
	maxErrorText = 256 << 10

	reasonNotLeader   = "NOT_LEADER"
	reasonWrongServer = "WRONG_SERVER"
	fieldLeaderID     = "leader_id"
	fieldLeaderAddr   = "leader_addr"
)

// kind ties one of node's errors to its form on the wire.
type kind struct {
	err    error
	reason string
	code   codes.Code
}

// kinds lists every error that keeps its identity; the first that matches
// counts, so the special stands before the general.
func kinds() []kind {
	return []kind{
		{node.ErrNotLeader, reasonNotLeader, codes.FailedPrecondition},
		{node.ErrStaleLeader, "STALE_LEADER", codes.FailedPrecondition},
		{errWrongServer, reasonWrongServer, codes.FailedPrecondition},
		{node.ErrOtherCluster, "WRONG_CLUSTER", codes.FailedPrecondition},
		{node.ErrInvalid, "INVALID_PLAN", codes.InvalidArgument},
		{node.ErrConflict, "CONFLICT", codes.Aborted},
		{node.ErrRefused, "REFUSED", codes.FailedPrecondition},
		{node.ErrUnauthenticated, "UNAUTHENTICATED", codes.Unauthenticated},
		{node.ErrBusy, "BUSY", codes.Unavailable},
		{node.ErrEngine, "ENGINE", codes.Internal},
		{node.ErrNoLeader, "NO_LEADER", codes.Unavailable},
	}
}

// toStatus gives err its form on the wire.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	for _, k := range kinds() {
		if errors.Is(err, k.err) {
			return withInfo(k, err)
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, wireText(err))
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, wireText(err))
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unknown, wireText(err))
}

func withInfo(k kind, err error) error {
	info := &errdetails.ErrorInfo{Domain: errorDomain, Reason: k.reason}
	if leader := (*node.NotLeaderError)(nil); errors.As(err, &leader) {
		info.Metadata = map[string]string{fieldLeaderID: leader.LeaderID, fieldLeaderAddr: leader.LeaderAddr}
	}
	st := status.New(k.code, wireText(err))
	detailed, detailErr := st.WithDetails(info)
	if detailErr != nil { // only if info cannot be marshalled; the code then still tells most
		return st.Err()
	}
	return detailed.Err()
}

// wireText is err's text as UTF-8 of bounded length.
func wireText(err error) string {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) <= maxErrorText {
		return text
	}
	cut := maxErrorText
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return fmt.Sprintf("%s … (%d bytes more)", text[:cut], len(text)-cut)
}

// remoteError is an error that another node answered, or the failure to reach
// it. causes hold node's error, if it is one, and always the gRPC status.
type remoteError struct {
	text   string
	causes []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.causes }

// fromStatus turns what a call returned back into node's errors. An answer of
// the other node's keeps its very text, any other failure names call and address.
func fromStatus(err error, call, addr string) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	if cause := answered(st); cause != nil {
		return &remoteError{text: st.Message(), causes: []error{cause, err}}
	}
	failure := &remoteError{text: fmt.Sprintf("%s %s: %s", call, addr, st.Message()), causes: []error{err}}
	switch st.Code() {
	case codes.Unauthenticated:
		failure.causes = append(failure.causes, node.ErrUnauthenticated)
	case codes.DeadlineExceeded:
		failure.causes = append(failure.causes, context.DeadlineExceeded)
	case codes.Canceled:
		failure.causes = append(failure.causes, context.Canceled)
	}
	return failure
}

// answered finds the error that the other node meant; nil if it meant none of node's.
func answered(st *status.Status) error {
	info := infoOf(st)
	if info == nil {
		return nil
	}
	if info.GetReason() == reasonNotLeader {
		return &node.NotLeaderError{LeaderID: info.GetMetadata()[fieldLeaderID], LeaderAddr: info.GetMetadata()[fieldLeaderAddr]}
	}
	for _, k := range kinds() {
		if k.reason == info.GetReason() {
			return k.err
		}
	}
	return nil
}

func infoOf(st *status.Status) *errdetails.ErrorInfo {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return info
		}
	}
	return nil
}
