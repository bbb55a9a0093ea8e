package gob

// Scan is the guard by itself.
func Scan(data []byte) error {
	_, _, err := scan(data)
	return err
}
