/* Reads a log line by line with libapparmor's own parser, and prints how many records there are and how many nanoseconds
 * it took. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <aalogparse/aalogparse.h>

int main(int argc, char **argv)
{
	char *line = NULL;
	size_t size = 0;
	long records = 0;
	struct timespec a, b;
	FILE *log = argc == 2 ? fopen(argv[1], "r") : NULL;

	if (!log)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &a);
	while (getline(&line, &size, log) > 0) {
		aa_log_record *record = parse_record(line);
		if (!record)
			continue;
		if (record->event == AA_RECORD_DENIED)
			records++;
		free_record(record);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%ld %lld\n", records, (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec);
	return 0;
}
