from raw import *
SECRET='a secret of at least thirty-two bytes'
def mint(*a):
    env={k:v for k,v in os.environ.items() if not k.startswith('COWRITE_')}; env['COWRITE_JWT_SECRET']=SECRET
    return subprocess.run([BIN,'token',*a],env=env,capture_output=True,text=True).stdout.strip()
s=Server('--jwt-secret',SECRET)
w=mint('--sub','ada','--document','*=write'); bad=w[:-4]+'AAAA'
h=Conn(s); h.send(auth('h',w),step1('h')); h.frames(.5); h.send(step2('h')); h.frames(.3)
def lat(k):
    t=time.time(); h.send(upd('h',edit(3,k,'x'))); h.frames(10,until=lambda f:f[0]==2 and f[1][2:3]==b'\x08'); return time.time()-t
print('quiet',['%.1f ms'%(lat(k)*1e3) for k in range(4)])
cs=[Conn(s) for _ in range(4)]
stop=time.time()+6; n=[0]
def run(c):
    def rd():
        try:
            while c.s.recv(1<<20): pass
        except OSError: pass
    threading.Thread(target=rd,daemon=True).start()
    b=b''.join(ws(auth('x%d'%i,bad)) for i in range(500))
    try:
        c.s.settimeout(None)
        while time.time()<stop: c.s.sendall(b); n[0]+=500
    except OSError as e: print(repr(e))
for c in cs: threading.Thread(target=run,args=(c,),daemon=True).start()
time.sleep(1)
print('4 unauthenticated floods',['%.1f ms'%(lat(4+k)*1e3) for k in range(5)],'tokens',n[0],'rss %.0f'%s.rss())
s.kill()
