package jsonread

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// reads reads a document with every function: strings and lists of known keys.
func reads(data string) (text string, list []string, m map[string]string, err error) {
	err = Document([]byte(data), func(dec *jsontext.Decoder) error {
		return Object(dec, []string{"text", "list", "map", "items"}, func(key string) (err error) {
			switch key {
			case "text":
				text, err = Text(dec)
			case "list":
				err = Strings(dec, func(s string) { list = append(list, s) })
			case "map":
				m, err = Map(dec)
			case "items":
				err = Objects(dec, func(dec *jsontext.Decoder) error {
					return Object(dec, nil, func(key string) error { list = append(list, key); return dec.SkipValue() })
				})
			default:
				err = dec.SkipValue()
			}
			return err
		})
	})
	return text, list, m, err
}

func TestReadsWhatIsThere(t *testing.T) {
	text, list, m, err := reads(`{"x":[1,{}],"text":"a\u002fb","list":["a",["b"],{"c":"d"},1],"map":{"k":"v","n":1},"items":[{"i":1},null,7,{"j":2}]} `)
	if err != nil || text != "a/b" || !slices.Equal(list, []string{"a", "b", "c", "d", "i"}) || !maps.Equal(m, map[string]string{"k": "v", "n": ""}) {
		t.Errorf("%q, %q, %q, %v", text, list, m, err)
	}
	text, list, m, err = reads(`{"text":null,"list":null,"map":null,"items":null}`)
	if err != nil || text != "" || list != nil || m != nil {
		t.Errorf("of nulls: %q, %q, %q, %v", text, list, m, err)
	}
}

func TestRefusesWhatReadersDisagreeAbout(t *testing.T) {
	for data, want := range map[string]string{
		"{\"text\":1,\n\"text\":2}":         `line 2: "/text" is there twice`,
		`{"Text":1}`:                        `"Text" is "text" in another spelling`,
		`{"x":{"y":{"a":1,"a":2}}}`:         "there twice",
		"{\n\"x\":{\"\\u0000\":1}}":         "line 2: key \"\\x00\" has a NUL",
		`{}{}`:                              "after its end",
		`{`:                                 "unexpected E",
		``:                                  "unexpected E",
		`[]`:                                "object must",
		"{\n'":                              "line 2",
		strings.Repeat(" ", MaxSize) + "{}": "larger than 16 MiB",
	} {
		if _, _, _, err := reads(data); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %v, want one line with %q", data, err, want)
		}
	}
}

func TestStopsWhereTheReaderHasEnough(t *testing.T) {
	err := Document([]byte(`{"a":1, broken`), func(dec *jsontext.Decoder) error {
		return Object(dec, nil, func(string) error { return ErrStop })
	})
	if err != ErrStop {
		t.Errorf("%v, want ErrStop itself", err)
	}
	other := errors.New("other")
	if err := Document([]byte(`{}`), func(*jsontext.Decoder) error { return other }); !errors.Is(err, other) {
		t.Errorf("%v, want one that wraps the reader's", err)
	}
}

func TestSpanOfWhatIsInside(t *testing.T) {
	const data = `  { "k" : [1] }  `
	Document([]byte(data), func(dec *jsontext.Decoder) error {
		at, err := Inside(dec, nil, func(string) error {
			_, at, err := Value(dec)
			if got := data[at.Start:at.End]; got != "[1]" {
				t.Errorf("the value is %q", got)
			}
			return err
		})
		if got := data[at.Start:at.End]; got != ` "k" : [1] ` {
			t.Errorf("inside is %q", got)
		}
		return err
	})
}
