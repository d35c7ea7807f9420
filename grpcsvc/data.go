package grpcsvc

import (
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
// end, over a connection of its own: no other call waits behind it. What to has
// taken when it fails was right; an error of to's comes back as it is.
func (c *Client) FetchData(ctx context.Context, addr string, in node.FetchData, to io.Writer) error {
	const name = "FetchData"
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
	stream, err := pb.NewLoadTestCoordinatorClient(conn).FetchData(ctx, fetchDataToWire(in))
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
	return conn.handshake.explain(fromStatus(err, name, addr))
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
