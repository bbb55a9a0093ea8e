package main

import "strings"

// city is a place whose weather is asked for, and the climate from which the
// built-in API makes its answers up.
type city struct {
	Name, Country string
	ID            int // GeoNames, as OpenWeatherMap uses it
	Lat, Lon      float64
	Zone          float64 // hours from UTC
	Mean, Swing   float64 // °C: the year's mean, and how far its summer is from it
	Humidity      int
}

// String is "London, GB".
func (c city) String() string { return c.Name + ", " + c.Country }

// key is the cache key of the city's weather.
func (c city) key() string {
	return "weather:" + strings.ToLower(strings.ReplaceAll(c.Name, " ", "-"))
}

// findCity looks a query up as OpenWeatherMap does: "london" or "London,GB".
func findCity(query string) (city, bool) {
	name, country, _ := strings.Cut(query, ",")
	name, country = strings.TrimSpace(name), strings.TrimSpace(country)
	for _, c := range cities {
		if strings.EqualFold(c.Name, name) && (country == "" || strings.EqualFold(c.Country, country)) {
			return c, true
		}
	}
	return city{}, false
}

// cities are what the built-in API knows. The demo asks for the first ones.
var cities = []city{
	{"London", "GB", 2643743, 51.51, -0.13, 0, 11.3, 7, 78},
	{"New York", "US", 5128581, 40.71, -74.01, -5, 12.9, 12, 64},
	{"Tokyo", "JP", 1850147, 35.69, 139.69, 9, 15.8, 11, 66},
	{"Paris", "FR", 2988507, 48.85, 2.35, 1, 12.4, 8, 75},
	{"Sydney", "AU", 2147714, -33.87, 151.21, 10, 18.2, 5, 64},
	{"Berlin", "DE", 2950159, 52.52, 13.41, 1, 10.1, 10, 76},
	{"Madrid", "ES", 3117735, 40.42, -3.70, 1, 15.0, 10, 55},
	{"Rome", "IT", 3169070, 41.89, 12.48, 1, 15.7, 9, 70},
	{"Lisbon", "PT", 2267057, 38.72, -9.13, 0, 17.4, 6, 72},
	{"Dublin", "IE", 2964574, 53.33, -6.25, 0, 9.8, 5, 82},
	{"Edinburgh", "GB", 2650225, 55.95, -3.20, 0, 9.0, 6, 81},
	{"Amsterdam", "NL", 2759794, 52.37, 4.89, 1, 10.5, 8, 81},
	{"Brussels", "BE", 2800866, 50.85, 4.35, 1, 10.9, 8, 79},
	{"Vienna", "AT", 2761369, 48.21, 16.37, 1, 11.4, 10, 72},
	{"Zurich", "CH", 2657896, 47.37, 8.55, 1, 9.8, 9, 76},
	{"Prague", "CZ", 3067696, 50.09, 14.42, 1, 9.4, 10, 76},
	{"Warsaw", "PL", 756135, 52.23, 21.01, 1, 9.0, 11, 77},
	{"Budapest", "HU", 3054643, 47.50, 19.04, 1, 11.8, 11, 70},
	{"Copenhagen", "DK", 2618425, 55.68, 12.57, 1, 9.1, 9, 80},
	{"Oslo", "NO", 3143244, 59.91, 10.75, 1, 7.0, 11, 74},
	{"Stockholm", "SE", 2673730, 59.33, 18.07, 1, 7.6, 10, 76},
	{"Helsinki", "FI", 658225, 60.17, 24.94, 2, 6.5, 12, 80},
	{"Reykjavik", "IS", 3413829, 64.14, -21.90, 0, 5.1, 6, 78},
	{"Athens", "GR", 264371, 37.98, 23.72, 2, 18.8, 10, 60},
	{"Istanbul", "TR", 745044, 41.01, 28.95, 3, 15.1, 9, 72},
	{"Moscow", "RU", 524901, 55.75, 37.62, 3, 6.3, 14, 75},
	{"Cairo", "EG", 360630, 30.06, 31.25, 2, 22.3, 8, 56},
	{"Casablanca", "MA", 2553604, 33.59, -7.61, 1, 18.5, 5, 76},
	{"Lagos", "NG", 2332459, 6.45, 3.39, 1, 27.0, 2, 84},
	{"Accra", "GH", 2306104, 5.56, -0.20, 0, 26.8, 2, 81},
	{"Nairobi", "KE", 184745, -1.28, 36.82, 3, 18.8, 2, 66},
	{"Addis Ababa", "ET", 344979, 9.02, 38.75, 3, 16.5, 1, 61},
	{"Cape Town", "ZA", 3369157, -33.93, 18.42, 2, 16.7, 4, 73},
	{"Johannesburg", "ZA", 993800, -26.20, 28.04, 2, 16.0, 5, 58},
	{"Dubai", "AE", 292223, 25.26, 55.30, 4, 28.2, 9, 59},
	{"Riyadh", "SA", 108410, 24.69, 46.72, 3, 26.6, 11, 28},
	{"Tehran", "IR", 112931, 35.69, 51.42, 3.5, 17.9, 13, 40},
	{"Karachi", "PK", 1174872, 24.86, 67.01, 5, 26.4, 6, 64},
	{"Delhi", "IN", 1273294, 28.65, 77.23, 5.5, 25.2, 9, 60},
	{"Mumbai", "IN", 1275339, 19.07, 72.88, 5.5, 27.5, 3, 75},
	{"Bangkok", "TH", 1609350, 13.75, 100.50, 7, 28.9, 2, 73},
	{"Singapore", "SG", 1880252, 1.29, 103.85, 8, 27.6, 1, 82},
	{"Jakarta", "ID", 1642911, -6.21, 106.85, 7, 27.7, 1, 79},
	{"Manila", "PH", 1701668, 14.60, 120.98, 8, 27.9, 2, 75},
	{"Hanoi", "VN", 1581130, 21.02, 105.84, 7, 24.1, 7, 79},
	{"Hong Kong", "HK", 1819729, 22.28, 114.17, 8, 23.5, 6, 78},
	{"Taipei", "TW", 1668341, 25.05, 121.53, 8, 23.4, 7, 76},
	{"Shanghai", "CN", 1796236, 31.22, 121.46, 8, 17.1, 12, 73},
	{"Beijing", "CN", 1816670, 39.91, 116.40, 8, 12.9, 15, 53},
	{"Seoul", "KR", 1835848, 37.57, 126.98, 9, 12.8, 14, 63},
	{"Osaka", "JP", 1853909, 34.69, 135.50, 9, 17.1, 11, 63},
	{"Melbourne", "AU", 2158177, -37.81, 144.96, 10, 15.0, 5, 66},
	{"Auckland", "NZ", 2193733, -36.85, 174.76, 12, 15.5, 4, 77},
	{"Wellington", "NZ", 2179537, -41.29, 174.78, 12, 13.1, 4, 79},
	{"Honolulu", "US", 5856195, 21.31, -157.86, -10, 25.4, 2, 66},
	{"Los Angeles", "US", 5368361, 34.05, -118.24, -8, 18.6, 4, 65},
	{"San Francisco", "US", 5391959, 37.77, -122.42, -8, 14.1, 3, 75},
	{"Seattle", "US", 5809844, 47.61, -122.33, -8, 11.6, 7, 73},
	{"Denver", "US", 5419384, 39.74, -104.98, -7, 10.4, 12, 52},
	{"Chicago", "US", 4887398, 41.85, -87.65, -6, 10.6, 14, 70},
	{"Boston", "US", 4930956, 42.36, -71.06, -5, 11.1, 12, 67},
	{"Miami", "US", 4164138, 25.77, -80.19, -5, 25.1, 4, 73},
	{"Toronto", "CA", 6167865, 43.70, -79.42, -5, 9.4, 13, 72},
	{"Vancouver", "CA", 6173331, 49.25, -123.12, -8, 10.4, 7, 79},
	{"Mexico City", "MX", 3530597, 19.43, -99.13, -6, 16.7, 2, 57},
	{"Havana", "CU", 3553478, 23.13, -82.38, -5, 25.2, 3, 75},
	{"Bogota", "CO", 3688689, 4.61, -74.08, -5, 13.5, 1, 78},
	{"Quito", "EC", 3652462, -0.23, -78.52, -5, 14.6, 1, 75},
	{"Caracas", "VE", 3646738, 10.49, -66.88, -4, 22.5, 1, 76},
	{"Lima", "PE", 3936456, -12.04, -77.03, -5, 19.2, 4, 82},
	{"Santiago", "CL", 3871336, -33.46, -70.65, -4, 14.6, 6, 61},
	{"Buenos Aires", "AR", 3435910, -34.61, -58.38, -3, 17.9, 7, 70},
	{"Sao Paulo", "BR", 3448439, -23.55, -46.64, -3, 19.6, 3, 76},
	{"Rio de Janeiro", "BR", 3451190, -22.91, -43.18, -3, 24.0, 3, 77},
}
