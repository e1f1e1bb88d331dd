// Package outputtest checks what commands print for programs.
package outputtest

import (
	"bytes"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled has the schemas that were compiled, by their texts.
var compiled sync.Map

// Valid fails a test unless data is JSON as a JSON Schema has it.
func Valid(t testing.TB, schema, data []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if err := compile(t, schema).Validate(doc); err != nil {
		t.Errorf("%v in %s", err, data)
	}
}

func compile(t testing.TB, schema []byte) *jsonschema.Schema {
	t.Helper()
	if known, is := compiled.Load(string(schema)); is {
		return known.(*jsonschema.Schema)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", parsed); err != nil {
		t.Fatal(err)
	}
	made, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	compiled.Store(string(schema), made)
	return made
}
