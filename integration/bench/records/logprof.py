# Reads a log as aa-logprof does, with the profiles of a directory, and prints how many nanoseconds it took: until it is read, or
# until aa-logprof has put together what repeats and is not allowed yet, and would ask its first question.
import sys
import time

import apparmor.aa
from apparmor.logparser import ReadLog

path, directory, until = sys.argv[1:]
apparmor.aa.init_aa(profiledir=directory)
apparmor.aa.read_profiles()
reader = ReadLog(path, apparmor.aa.active_profiles, directory)
began = time.monotonic_ns()
log = reader.read_log("")
if until == "asked":
    apparmor.aa.collapse_log(log)
took = time.monotonic_ns() - began
if not any(log.values()):
    sys.exit("it has found nothing")
print(took)
