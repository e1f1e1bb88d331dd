package policyfile

import _ "embed"

//go:embed schema.json
var schema []byte

//go:embed suite.schema.json
var suiteSchema []byte

// Schema returns the JSON Schema (draft 2020-12) of a policy file. It knows all that Read refuses in one file by itself,
// but for the syntax of patterns; what names refer to, and what is unreachable, is beyond a schema.
func Schema() []byte { return append([]byte(nil), schema...) }

// SuiteSchema returns the JSON Schema (draft 2020-12) of a file of tests. It knows all that ReadSuite refuses in one file
// by itself, but for the syntax of accesses; what names refer to is beyond a schema.
func SuiteSchema() []byte { return append([]byte(nil), suiteSchema...) }
