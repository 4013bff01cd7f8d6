package server

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lume-data/lume/connector/databricks/thrifttest/thriftwire"
)

// sparkProxy stands between Databricks' driver and Spark's Thrift server and supplies what only Databricks has: access
// tokens, the version of the protocol that the driver speaks, parameters of statements, and results that come with the
// answer to a statement. SQL itself goes to Spark as it is, but for parameters: Spark takes those by EXECUTE IMMEDIATE.
type sparkProxy struct {
	url, upstream, path string
	client              *http.Client
	// open holds the schema in which each open session began, by the session's id.
	open sync.Map
}

const (
	// hiveProtocol is the newest that Spark speaks, and databricksProtocol the first with parameters.
	hiveProtocol       = int32(9)
	databricksProtocol = int32(0xA508)
	// Fields that Databricks has added.
	directResults = 1281
	parameters    = 1288
	// initialNamespace holds the catalog (1) and the schema (2) that a session begins in.
	initialNamespace = 1284
	// States of an operation up to which it runs, and status codes.
	lastLiveState = int32(1)
	pendingState  = int32(7)
)

func newSparkProxy(upstream, path string) (*sparkProxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &sparkProxy{url: "http://" + l.Addr().String(), upstream: upstream, path: path, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	server := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // It ends with the process, as Spark does.
	return p, nil
}

func (p *sparkProxy) sessions(schema string) (n int) {
	p.open.Range(func(_, began any) bool {
		if began == schema {
			n++
		}
		return true
	})
	return n
}

// ServeHTTP implements http.Handler.
func (p *sparkProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != p.path {
		http.Error(w, "no such warehouse", http.StatusNotFound)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+sparkToken {
		http.Error(w, "invalid token", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	call, err := thriftwire.Decode(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply, err := p.answer(r, call)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/x-thrift")
	_, _ = w.Write(thriftwire.Encode(reply))
}

func (p *sparkProxy) answer(r *http.Request, call thriftwire.Message) (thriftwire.Message, error) {
	req := call.Body.Struct(1)
	switch call.Name {
	case "OpenSession":
		// Spark refuses settings of the session that it does not know.
		call.Body = call.Body.With(1, req.With(1, hiveProtocol).With(4, nil))
		reply, err := p.send(call)
		if result := reply.Body.Struct(0); err == nil && result.Get(3) != nil {
			p.open.Store(result.Struct(3).Struct(1).Text(1), req.Struct(initialNamespace).Text(2))
			p.use(result.Get(3), req.Struct(initialNamespace))
			reply.Body = reply.Body.With(0, result.With(2, databricksProtocol))
		}
		return reply, err
	case "CloseSession":
		reply, err := p.send(call)
		if err == nil {
			p.open.Delete(req.Struct(1).Struct(1).Text(1))
		}
		return reply, err
	case "ExecuteStatement":
		return p.execute(r, call, req)
	case "FetchResults":
		reply, err := p.send(call)
		if result := reply.Body.Struct(0); err == nil && result.Get(3) != nil {
			maxRows, _ := req.Get(3).(int64)
			reply.Body = reply.Body.With(0, more(result, maxRows))
		}
		return reply, err
	}
	return p.send(call)
}

// use makes a session begin in its catalog and schema. A schema that does not exist is for later statements to find out.
func (p *sparkProxy) use(session any, namespace thriftwire.Struct) {
	statement := fmt.Sprintf("USE `%s`.`%s`", namespace.Text(1), namespace.Text(2))
	_, _ = p.ask("ExecuteStatement", thriftwire.Struct{{ID: 1, Value: session}, {ID: 2, Value: []byte(statement)}, {ID: 4, Value: false}})
}

// execute runs a statement to its end and puts status, columns and the first page of the result into the answer.
func (p *sparkProxy) execute(r *http.Request, call thriftwire.Message, req thriftwire.Struct) (thriftwire.Message, error) {
	maxRows, _ := req.Struct(directResults).Get(1).(int64)
	call.Body = call.Body.With(1, thriftwire.Struct{
		{ID: 1, Value: req.Get(1)}, {ID: 2, Value: []byte(immediate(req))}, {ID: 4, Value: true},
	})
	reply, err := p.send(call)
	if err != nil {
		return reply, err
	}
	result := reply.Body.Struct(0)
	handle := result.Get(2)
	if handle == nil {
		return reply, nil
	}
	status, err := p.finish(r, handle)
	if err != nil {
		return reply, err
	}
	direct := thriftwire.Struct{{ID: 1, Value: status}}
	if state, _ := status.Get(2).(int32); state == 2 {
		if metadata, err := p.ask("GetResultSetMetadata", thriftwire.Struct{{ID: 1, Value: handle}}); err == nil {
			direct = append(direct, thriftwire.Field{ID: 2, Value: metadata})
			if len(metadata.Struct(2).List(1)) > 0 {
				page, err := p.ask("FetchResults", thriftwire.Struct{{ID: 1, Value: handle}, {ID: 2, Value: int32(0)}, {ID: 3, Value: maxRows}})
				if err != nil {
					return reply, err
				}
				direct = append(direct, thriftwire.Field{ID: 3, Value: more(page, maxRows)})
			}
		}
	}
	reply.Body = reply.Body.With(0, result.With(directResults, direct))
	return reply, nil
}

// finish waits for a statement, and cancels it if the client goes.
func (p *sparkProxy) finish(r *http.Request, handle any) (thriftwire.Struct, error) {
	for wait := 5 * time.Millisecond; ; wait = min(wait*2, 50*time.Millisecond) {
		status, err := p.ask("GetOperationStatus", thriftwire.Struct{{ID: 1, Value: handle}})
		if err != nil {
			return nil, err
		}
		if state, _ := status.Get(2).(int32); state > lastLiveState && state != pendingState {
			// The driver shows what Databricks sends in a field of its own.
			return status.With(directResults, []byte(status.Text(5))), nil
		}
		select {
		case <-r.Context().Done():
			_, err := p.ask("CancelOperation", thriftwire.Struct{{ID: 1, Value: handle}})
			return nil, errors.Join(r.Context().Err(), err)
		case <-time.After(wait):
		}
	}
}

// more says whether another page can follow: Spark says never.
func more(page thriftwire.Struct, maxRows int64) thriftwire.Struct {
	return page.With(2, rowsOf(page) == maxRows)
}

// rowsOf counts the rows of a page by its first column.
func rowsOf(page thriftwire.Struct) int64 {
	for _, column := range page.Struct(3).List(3) {
		for _, f := range column.(thriftwire.Struct) {
			return int64(len(f.Value.(thriftwire.Struct).List(1)))
		}
	}
	return 0
}

// immediate is the statement with its parameters as Spark takes them.
func immediate(req thriftwire.Struct) string {
	list := req.List(parameters)
	if len(list) == 0 {
		return req.Text(2)
	}
	values := make([]string, len(list))
	for i, item := range list {
		values[i] = sparkLiteral(item.(thriftwire.Struct).Struct(4).Text(1))
	}
	return "EXECUTE IMMEDIATE " + sparkLiteral(req.Text(2)) + " USING " + strings.Join(values, ", ")
}

func sparkLiteral(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// ask makes a call of the proxy's own and returns the result.
func (p *sparkProxy) ask(name string, req thriftwire.Struct) (thriftwire.Struct, error) {
	reply, err := p.send(thriftwire.Message{Name: name, Type: thriftwire.Call, Body: thriftwire.Struct{{ID: 1, Value: req}}})
	if err != nil {
		return nil, err
	}
	result := reply.Body.Struct(0)
	if code, _ := result.Struct(1).Get(1).(int32); code == 3 || code == 4 {
		return nil, fmt.Errorf("%s: %s", name, result.Struct(1).Text(5))
	}
	return result, nil
}

func (p *sparkProxy) send(call thriftwire.Message) (thriftwire.Message, error) {
	req, err := http.NewRequest(http.MethodPost, p.upstream, bytes.NewReader(thriftwire.Encode(call)))
	if err != nil {
		return thriftwire.Message{}, err
	}
	req.Header.Set("Content-Type", "application/x-thrift")
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("lume:lume")))
	resp, err := p.client.Do(req)
	if err != nil {
		return thriftwire.Message{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return thriftwire.Message{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return thriftwire.Message{}, fmt.Errorf("spark: HTTP status %d", resp.StatusCode)
	}
	return thriftwire.Decode(body)
}
