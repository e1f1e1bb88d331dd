package compare

import (
	"maps"
	"testing"
)

func TestSameNamesAllThatDiffers(t *testing.T) {
	was := Flatten(map[string]any{"a": int64(1), "b": map[string]any{"c": "x", "d": []any{"y"}}, "e": "", "f": true}, IsZero)
	if want := map[string]string{"a": "1", "b.c": "x", "b.d": "[y]", "f": "true"}; !maps.Equal(was, want) {
		t.Errorf("it is %v, want %v", was, want)
	}
	now := maps.Clone(was)
	if err := Same(was, now); err != nil {
		t.Error(err)
	}
	now["a"], now["g"] = "2", "z"
	delete(now, "b.c")
	delete(now, "f")
	const want = `a would be 2, and not "1"; g would be z, and not ""; b.c = x would be lost`
	if err := Same(was, now, "f"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := Same(was, now, "f", "a", "g", "b.c"); err != nil {
		t.Error(err)
	}
}
