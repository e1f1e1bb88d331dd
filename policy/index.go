package policy

// Index is a Policy in the form in which a container start reads it: decided upon in place, never decoded as a whole.
type Index struct{ data []byte }
