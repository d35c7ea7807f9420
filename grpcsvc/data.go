package grpcsvc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"volley/grpcsvc/pb"
	"volley/node"
)

// dataChunk is how much of a data file one message holds: large enough to be
// cheap, small enough to show progress.
const dataChunk = 128 << 10

// FetchData writes a data file that the node at addr has, from an offset to its
// end. What to has taken when it fails was right; an error of to's comes back as
// it is.
func (c *Client) FetchData(ctx context.Context, addr string, in node.FetchData, to io.Writer) error {
	return c.fetch(ctx, "FetchData", addr, to, func(ctx context.Context, from pb.LoadTestCoordinatorClient) (chunks, error) {
		return from.FetchData(ctx, fetchDataToWire(in))
	})
}

// FetchResult writes the cluster's result of a run that the node at addr has.
func (c *Client) FetchResult(ctx context.Context, addr string, in node.FetchResult, to io.Writer) error {
	return c.fetch(ctx, "FetchResult", addr, to, func(ctx context.Context, from pb.LoadTestCoordinatorClient) (chunks, error) {
		return from.FetchResult(ctx, fetchResultToWire(in))
	})
}

type chunks = grpc.ServerStreamingClient[pb.DataChunk]

// fetch takes a stream over a connection of its own: no other call waits behind it.
func (c *Client) fetch(ctx context.Context, name, addr string, to io.Writer, ask func(context.Context, pb.LoadTestCoordinatorClient) (chunks, error)) error {
	if _, ok := ctx.Deadline(); !ok {
		return fmt.Errorf("%s %s: context has no deadline (every call must carry one)", name, addr)
	}
	conn, err := c.pool.borrow(addr, useData)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer c.pool.giveBack(conn)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream if to takes no more
	stream, err := ask(ctx, pb.NewLoadTestCoordinatorClient(conn))
	for err == nil {
		var chunk *pb.DataChunk
		if chunk, err = stream.Recv(); err != nil {
			break
		}
		if _, err := to.Write(chunk.GetData()); err != nil {
			return err
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return c.pool.failure(conn, err, name, addr)
}

// FetchData sends a data file in chunks, as fast as they are taken.
func (c *coordinator) FetchData(in *pb.FetchDataRequest, stream grpc.ServerStreamingServer[pb.DataChunk]) error {
	if err := checkDeadline(stream.Context(), "FetchData"); err != nil {
		return err
	}
	from, err := c.node.HandleFetchData(stream.Context(), fetchDataFromWire(in))
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // only read
	return send(from, stream)
}

// FetchResult sends a result in chunks: with many steps it is larger than one
// message may be.
func (c *coordinator) FetchResult(in *pb.FetchResultRequest, stream grpc.ServerStreamingServer[pb.DataChunk]) error {
	if err := checkDeadline(stream.Context(), "FetchResult"); err != nil {
		return err
	}
	body, err := c.node.HandleFetchResult(stream.Context(), fetchResultFromWire(in))
	if err != nil {
		return err
	}
	return send(bytes.NewReader(body), stream)
}

func send(from io.Reader, stream grpc.ServerStreamingServer[pb.DataChunk]) error {
	for {
		piece := make([]byte, dataChunk) // gRPC may still hold the one before
		n, err := io.ReadFull(from, piece)
		if n > 0 {
			if err := stream.Send(&pb.DataChunk{Data: piece[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func fetchResultToWire(f node.FetchResult) *pb.FetchResultRequest {
	return &pb.FetchResultRequest{ClusterId: f.ClusterID, From: memberToWire(f.From), RunId: f.RunID}
}

func fetchResultFromWire(f *pb.FetchResultRequest) node.FetchResult {
	return node.FetchResult{ClusterID: f.GetClusterId(), From: memberFromWire(f.GetFrom()), RunID: f.GetRunId()}
}

func fetchDataToWire(f node.FetchData) *pb.FetchDataRequest {
	return &pb.FetchDataRequest{ClusterId: f.ClusterID, From: memberToWire(f.From), Sha256: f.SHA256, Offset: f.Offset}
}

func fetchDataFromWire(f *pb.FetchDataRequest) node.FetchData {
	return node.FetchData{ClusterID: f.GetClusterId(), From: memberFromWire(f.GetFrom()), SHA256: f.GetSha256(), Offset: f.GetOffset()}
}

func filesToWire(files []node.File) (out []*pb.DataFile) {
	for _, f := range files {
		out = append(out, &pb.DataFile{Name: f.Name, Size: f.Size, Sha256: f.SHA256})
	}
	return out
}

func filesFromWire(files []*pb.DataFile) (out []node.File) {
	for _, f := range files {
		out = append(out, node.File{Name: f.GetName(), Size: f.GetSize(), SHA256: f.GetSha256()})
	}
	return out
}
