from raw import *
s=Server()
N=int(sys.argv[1]); keep=[]
def drain(c):
    def run():
        try:
            c.s.settimeout(None)
            while c.s.recv(1<<20): pass
        except OSError: pass
    threading.Thread(target=run,daemon=True).start()
big='{"a":"'+'x'*60000+'"}'
for d in range(N):
    c=Conn(s); drain(c); keep.append(c); c.send(auth(f'p{d}'),step1(f'p{d}'))
    time.sleep(.2)
    for k in range(32): c.send(aw(f'p{d}',1000*d+k+1,1,big))
time.sleep(2)
for attempt in range(3):
    v=Conn(s,rcvbuf=4096)
    v.send(*[m for d in range(N) for m in (auth(f'p{d}'),step1(f'p{d}'),aw(f'p{d}',900000+d,1))])
    time.sleep(3); total=0; last=None
    try:
        while True:
            op,p=v.frame(2); total+=len(p); last=(op,p[:60])
            if op==8: break
    except Exception as e: last=(last[0] if last else None, type(e).__name__)
    print('attempt',attempt,'bytes %.1f MB'%(total/1e6),last,flush=True)
s.kill()
