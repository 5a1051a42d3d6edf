from tests.simulation.run import run_seed
import sys, time
start=int(sys.argv[1]); n=int(sys.argv[2])
t=time.perf_counter()
for s in range(start,start+n):
    r=run_seed(s, trace="-t" in sys.argv)
    print(s, r.violation or "ok", "h",r.height,"steps",r.steps,"virt",round(r.virtual_s,1),"ack",r.acknowledged, r.digest)
print((time.perf_counter()-t)/n)
