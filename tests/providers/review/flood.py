import sys
from raw import *
import raw
which=sys.argv[1]; secs=float(sys.argv[2]) if len(sys.argv)>2 else 6
s=Server()
def reader(c):
    def run():
        try:
            c.s.settimeout(None)
            while c.s.recv(1<<20): pass
        except OSError: pass
    threading.Thread(target=run,daemon=True).start()
try:
    c=Conn(s,'/hocuspocus' if which!='pingws' else '/ws/d', rcvbuf=4096 if 'noread' in which or 'ping' in which else None)
    if 'noread' not in which and 'ping' not in which: reader(c)
    start=time.time(); sent=0; n=0; err=None
    base=s.rss(); peak=base
    c.s.settimeout(2)
    if which in('reauth',): c.send(auth('d'),step1('d')); time.sleep(.3)
    if which=='closenoread':
        # block the writer
        for i in range(200): c.s.sendall(ws(b'',9)*5000)
    i=0
    try:
        while time.time()-start<secs:
            if which=='newdocs': b=b''.join(ws(auth(f'd{i*500+k}'))+ws(close(f'd{i*500+k}')) for k in range(500))
            elif which in('reopen','reopen-noread'): b=(ws(auth('d'))+ws(close('d')))*500
            elif which=='reauth': b=ws(auth('d'))*1000
            elif which.startswith('ping'): b=ws(b'',9)*5000
            elif which=='empties': b=b''
            c.s.sendall(b); sent+=len(b); i+=1
            if i%20==0: peak=max(peak,s.rss())
    except OSError as e: err=repr(e)
    peak=max(peak,s.rss())
    print(which,f'{time.time()-start:.1f}s sent {sent/1e6:.1f} MB err {err} rss {base:.0f} -> peak {peak:.0f} MB', flush=True)
    for k in range(6):
        t=time.time()
        try: print('  after',k,'rss %.0f'%s.rss(),'docs',s.metric('cowrite_documents_open'),'conns',s.metric('cowrite_connections'),'metrics took %.2f s'%(time.time()-t), flush=True)
        except Exception as e: print('  metrics',e)
        time.sleep(1)
    c.s.close(); time.sleep(2); print('  closed: rss %.0f'%s.rss(),'conns',s.metric('cowrite_connections'))
finally: s.kill()
