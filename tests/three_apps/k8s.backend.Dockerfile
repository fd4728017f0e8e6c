FROM scratch
COPY backend /app
EXPOSE 3325
