package loadgen

import (
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"volley/plan"
)

// payload makes a step's bodies.
type payload struct {
	size   int64  // of a random body, 0 for none
	fixed  string // one that is always the same
	chunks []chunk
	// kind is the Content-Type of a form, "" where the plan alone says it.
	kind string
}

// about is how many bytes the body has, its variables by their names.
func (p *payload) about() int64 {
	n := p.size + int64(len(p.fixed))
	for _, c := range p.chunks {
		n += int64(len(c.data))
		for _, t := range c.text {
			n += int64(len(t.text))
		}
	}
	return n
}

// chunk is a part of a body: a text with variables, or a file's content.
type chunk struct {
	text template
	data string
}

func (p *parser) payload(r *plan.Request, files *files) (payload, error) {
	switch {
	case r.BodySize > 0:
		return payload{size: int64(r.BodySize)}, nil
	case r.BodyFile != "":
		data, err := files.read(r.BodyFile)
		if err != nil {
			return payload{}, fmt.Errorf("request.bodyFile: %w", err)
		}
		return payload{fixed: data}, nil
	case len(r.Form) > 0:
		form, err := p.pairs(r.Form)
		if err != nil {
			return payload{}, fmt.Errorf("request.form: %w", err)
		}
		return payload{kind: "application/x-www-form-urlencoded", chunks: []chunk{{text: form}}}.settled(), nil
	case len(r.Multipart) > 0:
		return p.multipart(r.Multipart, files)
	}
	text, err := p.plain(r.Body)
	if err != nil {
		return payload{}, fmt.Errorf("request.body: %w", err)
	}
	return payload{chunks: []chunk{{text: text}}}.settled(), nil
}

// settled makes one text of a body that never varies.
func (p payload) settled() payload {
	var whole strings.Builder
	for _, chunk := range p.chunks {
		text, ok := chunk.text.static()
		if !ok {
			return p
		}
		whole.WriteString(text)
		whole.WriteString(chunk.data)
	}
	p.fixed, p.chunks = whole.String(), nil
	return p
}

// multipart lays the parts out as browsers do. The boundary is the same for all
// requests of a step: it is random enough to be in no file.
func (p *parser) multipart(parts []plan.Multipart, files *files) (payload, error) {
	id, more := randomID(), randomID()
	boundary := hex.EncodeToString(append(id[:], more[:14]...))
	out := payload{kind: "multipart/form-data; boundary=" + boundary}
	var text template
	for i := range parts {
		header, content, data, err := p.formPart(&parts[i], files)
		if err != nil {
			return out, fmt.Errorf("request.multipart[%d].%w", i, err)
		}
		text = text.literal("--" + boundary + "\r\n").join(header).literal("\r\n").join(content)
		if data != "" {
			out.chunks = append(out.chunks, chunk{text: text, data: data})
			text = nil
		}
		text = text.literal("\r\n")
	}
	out.chunks = append(out.chunks, chunk{text: text.literal("--" + boundary + "--\r\n")})
	return out.settled(), nil
}

// formPart is a part's header lines and its content, a value or a file's.
func (p *parser) formPart(part *plan.Multipart, files *files) (header, content template, data string, err error) {
	name, err := p.at(inParam, part.Name)
	if err != nil {
		return nil, nil, "", fmt.Errorf("name: %w", err)
	}
	header = template{}.literal(`Content-Disposition: form-data; name="`).join(name).literal(`"`)
	kind := part.ContentType
	if part.File != "" {
		if data, err = files.read(part.File); err != nil {
			return nil, nil, "", fmt.Errorf("file: %w", err)
		}
		filename := part.Filename
		if filename == "" {
			filename = strings.ReplaceAll(filepath.Base(part.File), "${", "$${")
		}
		if kind == "" {
			kind = "application/octet-stream"
		}
		placed, err := p.at(inParam, filename)
		if err != nil {
			return nil, nil, "", fmt.Errorf("filename: %w", err)
		}
		header = header.literal(`; filename="`).join(placed).literal(`"`)
	}
	header = header.literal("\r\n")
	if kind != "" {
		placed, err := p.at(inLine, kind)
		if err != nil {
			return nil, nil, "", fmt.Errorf("contentType: %w", err)
		}
		header = header.literal("Content-Type: ").join(placed).literal("\r\n")
	}
	if content, err = p.plain(part.Value); err != nil {
		return nil, nil, "", fmt.Errorf("value: %w", err)
	}
	return header, content, data, nil
}

// length is that of every body; fixed is false if they differ.
func (p *payload) length() (n int64, fixed bool) {
	return p.size + int64(len(p.fixed)), len(p.chunks) == 0
}

// fill is the payload's texts for one request, and how long they are together.
func (p *payload) fill(s *scope) (texts []string, length int64) {
	for i := range p.chunks {
		for _, text := range []string{s.text(p.chunks[i].text), p.chunks[i].data} {
			if text != "" {
				texts = append(texts, text)
				length += int64(len(text))
			}
		}
	}
	return texts, length
}

func readAll(texts []string) io.ReadCloser {
	if len(texts) == 1 {
		return io.NopCloser(strings.NewReader(texts[0]))
	}
	readers := make([]io.Reader, len(texts))
	for i, text := range texts {
		readers[i] = strings.NewReader(text)
	}
	return io.NopCloser(io.MultiReader(readers...))
}
