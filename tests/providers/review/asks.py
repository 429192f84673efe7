from raw import *
s=Server()
y=Conn(s,'/ws/z'); y.send(b'\1\1\0\0\0\1\0'); print('empty awareness and SyncStep1 in one message:',[(f[0],f[1][:80]) for f in y.frames(.5)])
w=Conn(s); w.send(auth('d'),step1('d')); w.frames(.3); w.send(step2('d')); w.frames(.2)
N=20000
for i in range(4):
    u=vu(5000)+b''.join(b'\1'+vu(100+i*5000+k)+b'\0'+b'\4\1\1t'+vs('a') for k in range(5000))+b'\0'
    w.send(upd('d',u)); print(w.frames(3,until=lambda f:f[0]==2 and f[1][2:3]==b'\x08')[-1])
def lat(k):
    t=time.time(); w.send(upd('d',edit(3,k,'x'))); w.frames(30,until=lambda f:f[0]==2 and f[1][2:3]==b'\x08'); return time.time()-t
print('quiet',['%.1f ms'%(lat(k)*1e3) for k in range(4)])
for wire in ('/ws/d','/hocuspocus'):
    c=Conn(s,wire); 
    if wire!='/ws/d': c.send(auth('d'))
    got=[0]
    def rd():
        try:
            while True:
                d=c.s.recv(1<<20)
                if not d: break
                got[0]+=len(d)
        except OSError: pass
    stop=time.time()+4; sent=[0]
    def wr():
        b=(ws(step1('d')) if wire!='/ws/d' else ws(b'\0\0\1\0'))*200
        try:
            c.s.settimeout(None)
            while time.time()<stop: c.s.sendall(b); sent[0]+=len(b)
        except OSError as e: print(repr(e))
    threading.Thread(target=rd,daemon=True).start(); threading.Thread(target=wr,daemon=True).start()
    time.sleep(.5)
    k0=4 if wire=='/ws/d' else 6
    print(wire,'flood of SyncStep1',['%.0f ms'%(lat(k0+k)*1e3) for k in range(2)],'sent %.2f MB got %.0f MB'%(sent[0]/1e6,got[0]/1e6))
    time.sleep(max(0,stop-time.time())); c.s.close(); time.sleep(1)
s.kill()
