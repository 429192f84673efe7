from raw import *
# a document that takes long to open, and messages without a payload for it meanwhile
data=tempfile.mkdtemp(prefix='cowrite-rev-')
s=Server(data=data)
w=Conn(s); w.send(auth('big'),step1('big')); w.frames(.5)
clock=0
for i in range(30):
    # many small structs: slow to open
    n=60000; parts=[b'\x84\7'+vu(clock-1+k) + vs('a') if clock+k else b'\4\1\1t'+vs('a') for k in range(n)]
    w.send(upd('big', b'\1'+vu(n)+b'\7'+vu(clock)+b''.join(parts)+b'\0')); clock+=n
    w.frames(20,until=lambda f:f[0]==2 and f[1][4:5]==b'\x08')
s.kill(keep=True)
s=Server(data=data)
import urllib.request
t=time.time(); c=Conn(s); base=s.rss()
c.send(auth('big')); 
b=ws(vs('big')+b'\3')*5000; sent=0
c.s.settimeout(.2); peak=base; stop=time.time()+8; opened=None
try:
    while time.time()<stop:
        c.s.sendall(b); sent+=len(b); peak=max(peak,s.rss())
        if opened is None:
            c.s.setblocking(False)
            try:
                if c.s.recv(10): opened=time.time()-t; break
            except BlockingIOError: pass
            c.s.settimeout(5)
except OSError as e: print(repr(e))
print('opened after',opened,'sent %.1f MB'%(sent/1e6),'rss %.0f -> %.0f'%(base,peak))
s.kill()
