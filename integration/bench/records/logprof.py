# Reads a log as aa-logprof does, under whose eyes every profile exists, and prints how many nanoseconds it took.
import sys
import time

from apparmor.logparser import ReadLog


class Every(dict):
    def profile_exists(self, name):
        return True

    def filename_from_profile_name(self, name):
        return name


reader = ReadLog(sys.argv[1], Every(), "")
if hasattr(reader, "profile_exists"):
    reader.profile_exists = lambda name: True
began = time.monotonic_ns()
log = reader.read_log("")
took = time.monotonic_ns() - began
if not any(log.values()):
    sys.exit("it has found nothing")
print(took)
