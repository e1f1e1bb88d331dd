package profile

import "context"

// CompileSeveral compiles a text as it is, which may define any profiles, and returns what the parser writes for it. The
// blob is to be judged (package meaning), not to be loaded: CompileSeveral refuses none that would do harm. source and
// the error are as in Compile.
func (c *Compiler) CompileSeveral(ctx context.Context, source string, text []byte) ([]byte, error) {
	err := checkText(text)
	if err == nil {
		var data []byte
		if data, _, err = c.output(ctx, text); err == nil {
			return data, nil
		}
	}
	return nil, c.textError(ctx, source, text, err)
}
