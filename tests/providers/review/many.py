from raw import *
# many sessions of one document, each under its own address (sessionAwareness of version 4)
s=Server()
conns=[]
def drain(c):
    def run():
        try:
            c.s.settimeout(None)
            while c.s.recv(1<<20): pass
        except OSError: pass
    threading.Thread(target=run,daemon=True).start()
w=Conn(s,'/ws/d'); w.send(b'\0\0'+vs(b'\0'),b'\0\1'+vs(b'\0\0')); w.frames(.3)
clock=0; serial=0
def edit_time():
    global clock,serial
    ts=[]
    for i in range(5):
        t=time.time(); serial+=1
        w.send(b'\0\2'+vs(edit(1,clock,'x')),b'\x66'+vs(vu(serial))); clock+=1
        w.frames(20,until=lambda f:f[0]==2 and f[1][:1]==b'\x66')
        ts.append(time.time()-t); time.sleep(.1)
    return '%.1f ms'%(min(ts)*1e3)
print('0',edit_time(),flush=True)
for k in range(4):
    c=Conn(s); drain(c); conns.append(c)
    for j in range(0,1000,100):
        c.send(*[m for i in range(j,j+100) for m in (auth(f'd\0{k}-{i}'),step1(f'd\0{k}-{i}'))]); 
    time.sleep(2)
    print((k+1)*1000,edit_time(),'rss %.0f'%s.rss(),flush=True)
s.kill()
