/*
 * A process that does what it is told. Standard input is a seqpacket socket: one command a
 * message, one answer a command, which is a number and what was read. A command is a letter and
 * its argument; some bring a descriptor along.
 *
 *   c PATH   connects
 *   s BYTES  sends on the connection
 *   r        reads from it; 0 is its end
 *   d        reads what is there already
 *   h        says that no more will be sent on it
 *   k        closes it
 *   f        forks; the child takes its commands from the descriptor
 *   e PATH   becomes another program, with the connection; it answers for itself
 *   p        passes the connection over the descriptor
 *   t        takes the connection that was passed over the descriptor
 *   x        exits, without an answer
 *
 * In C, because a fork is no safe thing to ask of a Rust program.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONTROL = 0, CONNECTION = 100 };

static void answer(int number, const char *bytes, size_t length) {
    char message[sizeof number + 16384];
    memcpy(message, &number, sizeof number);
    memcpy(message + sizeof number, bytes, length);
    if (send(CONTROL, message, sizeof number + length, MSG_NOSIGNAL) < 0) _exit(1);
}

/* Receives a message of at most `size` bytes; *brought is the descriptor that came along, or -1. */
static ssize_t receive(int from, char *bytes, size_t size, int *brought) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t length = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = length < 0 ? NULL : CMSG_FIRSTHDR(&message);
    *brought = -1;
    if (header && header->cmsg_type == SCM_RIGHTS) memcpy(brought, CMSG_DATA(header), sizeof *brought);
    return length;
}

static int pass(int over) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    int passed = CONNECTION;
    struct iovec part = {"p", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    memcpy(CMSG_DATA(&control.header), &passed, sizeof passed);
    return sendmsg(over, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Makes `descriptor` the connection. */
static int keep(int descriptor) {
    if (descriptor < 0 || dup2(descriptor, CONNECTION) < 0) return -errno;
    close(descriptor);
    return 0;
}

static int take(int from) {
    char byte;
    int taken;
    return receive(from, &byte, 1, &taken) < 0 ? -errno : keep(taken);
}

static int connected(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connect(connection, (struct sockaddr *)&address, sizeof address)) return -errno;
    return keep(connection);
}

static int forked(int control) {
    pid_t child = fork();
    if (child == 0) {
        dup2(control, CONTROL);
        return 0;
    }
    return child < 0 ? -errno : child;
}

static void obey(char letter, const char *argument, size_t length, int brought) {
    char bytes[16384];
    ssize_t done = 0;
    switch (letter) {
    case 'c': done = connected(argument); break;
    case 's': done = send(CONNECTION, argument, length, MSG_NOSIGNAL) < 0 ? -errno : 0; break;
    case 'r': done = recv(CONNECTION, bytes, sizeof bytes, 0); break;
    case 'd': done = recv(CONNECTION, bytes, sizeof bytes, MSG_DONTWAIT); break;
    case 'h': done = shutdown(CONNECTION, SHUT_WR); break;
    case 'k': done = close(CONNECTION); break;
    case 'f': done = forked(brought); break;
    case 'e': done = execl(argument, argument, (char *)NULL) ? -errno : 0; break;
    case 'p': done = pass(brought); break;
    case 't': done = take(brought); break;
    default: _exit(0);
    }
    int is_read = letter == 'r' || letter == 'd';
    if (done < 0 && (is_read || letter == 'h' || letter == 'k')) done = -errno;
    answer((int)done, bytes, is_read && done > 0 ? (size_t)done : 0);
}

int main(void) {
    /* Children that exit leave nothing to wait for. */
    signal(SIGCHLD, SIG_IGN);
    answer(0, "", 0);
    for (;;) {
        char message[16384] = {0};
        int brought;
        ssize_t length = receive(CONTROL, message, sizeof message - 1, &brought);
        if (length <= 0) _exit(0);
        obey(message[0], message + 1, (size_t)length - 1, brought);
        if (brought >= 0) close(brought);
    }
}
